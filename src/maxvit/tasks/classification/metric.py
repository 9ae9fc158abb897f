"""The metric of a classifier, whether images have one label each or any number."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from maxvit.tasks.classification.counted import CountedMetric
from maxvit.tasks.classification.multi_label import MultiLabelMetric
from maxvit.tasks.classification.single_label import SingleLabelMetric
from maxvit.tasks.protocols import Cell

SHARES = frozenset((
    *("accuracy", "top_5_accuracy", "balanced_accuracy", "calibration_error", "precision", "recall", "f1", "ap"),
    *("mAP", "f1_micro", "f1_macro", "f1_micro_at_0.5", "f1_macro_at_0.5"),
))  # fmt: skip


class EitherMetric:
    """One of two metrics: the first target says which, as it is bool where an image has any number of labels.

    Args:
        single: Makes the metric for one label each.
        several: Makes the other.

    Attributes:
        chosen: The metric; that for one label each where there was no image yet.
    """

    def __init__(
        self,
        single: Callable[[], SingleLabelMetric | CountedMetric],
        several: Callable[[], MultiLabelMetric],
    ) -> None:
        self.chosen: SingleLabelMetric | CountedMetric | MultiLabelMetric = single()
        self._several, self._begun = several, False

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes), and a class (), shares of classes, or which there are (classes)."""
        if len(targets):
            self.begin(targets[0].dtype == torch.bool)
            self.chosen.add(predictions, targets)

    def state(self) -> tuple[bool | None, Any]:
        """Whether there are several labels (None: no image yet), and the state of the metric."""
        return (isinstance(self.chosen, MultiLabelMetric), self.chosen.state()) if self._begun else (None, None)

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        several, counted = state
        if several is not None:
            self.begin(several)
            self.chosen.merge(counted)

    def begin(self, several: bool) -> None:
        """Choose the metric, unless there was an image: whether images have any number of labels each."""
        if several and not self._begun:
            self.chosen = self._several()
        self._begun = True

    def compute(self) -> dict[str, float]:
        """See `SingleLabelMetric` and `MultiLabelMetric`."""
        return self.chosen.compute()

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals of some of the metrics."""
        return {} if isinstance(self.chosen, CountedMetric) else self.chosen.intervals()

    def rows(self) -> list[dict[str, Cell]]:
        """A row for each class."""
        return self.chosen.rows()

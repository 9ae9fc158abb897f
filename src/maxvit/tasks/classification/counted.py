"""What the end of each epoch measures of images of one class each: counts, which need no memory for predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxvit.tasks.classification.auc import AUC, ScoreCounts
from maxvit.tasks.classification.single_label import CLASS_METRICS, MANY, TOP_5, class_metrics


class CountedMetric:
    """The metrics of `SingleLabelMetric` that counts give, by the same names; the area under the ROC curve from bins.

    Args:
        class_names: One per class.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.classes = len(class_names)
        self.images, self.right, self.in_five = 0, 0, 0
        self.of_classes = np.zeros((3, self.classes), np.int64)  # right, there, and predicted: see `class_counts`
        self.scores = ScoreCounts(self.classes)

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes), and a class () or shares of classes (classes)."""
        if not len(predictions):
            return
        probabilities, truth = torch.stack(list(predictions)).float().cpu(), torch.stack(list(targets)).cpu()
        probabilities = probabilities.nan_to_num(-1.0)
        first, known = probabilities.argmax(1), probabilities.amax(1) >= 0  # NaN is not a prediction
        labels = truth if truth.ndim == 1 else truth.argmax(1)
        if truth.ndim > 1:  # any class of the largest share is right
            tied = truth.gather(1, first[:, None])[:, 0] == truth.amax(1)
            labels = torch.where(tied, first, labels)
        own = probabilities.gather(1, labels[:, None])
        earlier = torch.arange(self.classes) < labels[:, None]  # of equal ones the first counts
        before = ((probabilities > own) | ((probabilities == own) & earlier)).sum(1)
        hits = labels[(first == labels) & known]
        self.images += len(labels)
        self.right += len(hits)
        self.in_five += int(((before < 5) & known).sum())
        self.of_classes += [np.bincount(some, minlength=self.classes) for some in (hits, labels, first[known])]
        self.scores.add(probabilities.numpy(), labels.numpy())

    def state(self) -> tuple[Any, ...]:
        """The counts."""
        return self.images, self.right, self.in_five, self.of_classes, self.scores.state()

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        images, right, in_five, of_classes, scores = state
        self.images, self.right, self.in_five = self.images + images, self.right + right, self.in_five + in_five
        self.of_classes = self.of_classes + of_classes
        self.scores.merge(scores)

    def compute(self) -> dict[str, float]:
        """accuracy, top_5_accuracy where there are 10 classes or more, balanced_accuracy, f1_macro and auc."""
        images = self.images or float("nan")
        top_5 = {TOP_5: self.in_five / images} if self.classes >= MANY else {}
        means = class_metrics(*self.of_classes) if self.images else dict.fromkeys(CLASS_METRICS, float("nan"))
        return {"accuracy": self.right / images, **top_5, **means, AUC: self.scores.auc()}

    def rows(self) -> list[dict[str, float | str | int]]:
        """Nothing: single classes are for the evaluation."""
        return []

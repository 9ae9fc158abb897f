"""What a multi-label network answered on images with any number of labels each, and the figures that follow."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from maxvit.tasks.multi_label import MEAN_AP, MultiLabelMetric, average_precisions

RESAMPLES = 200
AT_ONCE = 20  # resamples: a number for each of their images is held


@dataclass(frozen=True, slots=True)
class MultiLabelEvaluation:
    """What a multi-label network answered on every image, and the figures that follow.

    Attributes:
        class_names: One per class.
        labels: (n, classes) bool, what each image shows.
        probabilities: (n, classes) float32.
        indices: (n,) int64, of each image in the data set, rising.
        skipped: A sentence for each image that could not be read, and does not count.
        threshold: The network's: a class is answered from this probability up.
    """

    class_names: list[str]
    labels: npt.NDArray[np.bool_]
    probabilities: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    skipped: list[str]
    threshold: float

    @property
    def answers(self) -> npt.NDArray[np.bool_]:
        """(n, classes), what is answered."""
        return self.probabilities >= self.threshold

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(n,), whether an answer names all that an image shows and nothing else."""
        return (self.answers == self.labels).all(1)

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """(n,), binary cross-entropy in nats, summed over the classes."""
        of_truth = np.where(self.labels, self.probabilities, 1 - self.probabilities.astype(np.float64))
        return -np.log(np.maximum(of_truth, 1e-12)).sum(1)

    @property
    def loss(self) -> float:
        """Mean of `losses`."""
        return float(self.losses.mean())

    def scores(self) -> dict[str, float]:
        """Mean average precision and F1, see `MultiLabelMetric.compute`; NaN where no image has a label."""
        return self._metric().compute()

    def per_class(self) -> list[dict[str, float | str | int]]:
        """For each class: name, positives (images), ap, precision, recall and f1; ap is NaN without a positive."""
        rows = self._metric().rows()
        return [{"name": row["class"], **{k: v for k, v in row.items() if k != "class"}} for row in rows]

    def intervals(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals of "mAP" and "f1_micro", by the percentile bootstrap over images.

        Args:
            seed: Of the 200 resamples; the same gives the same intervals.
        """
        n, random = len(self.labels), np.random.default_rng(seed)
        hits, both = (self.answers & self.labels).sum(1), self.answers.sum(1) + self.labels.sum(1)
        precisions, f1s = [], []
        for _ in range(RESAMPLES // AT_ONCE):
            weights = random.multinomial(n, np.full(n, 1 / n), AT_ONCE).astype(np.float64)
            f1s.append(2 * (weights @ hits) / np.maximum(weights @ both, 1))
            found = np.ma.masked_invalid(average_precisions(self.probabilities, self.labels, weights))
            precisions.append(found.mean(1).filled(np.nan))
        quantiles = {MEAN_AP: precisions, "f1_micro": f1s}
        return {name: tuple(np.quantile(np.concatenate(v), (0.025, 0.975)).tolist()) for name, v in quantiles.items()}

    def mistakes(self) -> list[int]:
        """Rows of the images that are not `right`, the largest loss first."""
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-self.losses[wrong], kind="stable")]]

    def figures(self) -> dict[str, Any]:
        """The figures of all images together, as plain values for JSON."""
        intervals = {f"{name}_interval_95": list(ends) for name, ends in self.intervals().items()}
        known = {**self.scores(), "loss": self.loss, **intervals}
        return {"images": len(self.labels), **known, "skipped": len(self.skipped)}

    def _metric(self) -> MultiLabelMetric:
        metric = MultiLabelMetric(self.class_names, self.threshold)
        metric.add(list(torch.from_numpy(self.probabilities)), list(torch.from_numpy(self.labels).float()))
        return metric

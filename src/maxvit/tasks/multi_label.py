"""Figures for images with several labels: average precision and F1, and the threshold that is best for F1.

They are our own, and not scikit-learn's, because an interval needs them for hundreds of resamples at once, and because
whoever evaluates need not have it installed; a test compares them with scikit-learn's.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.config import THRESHOLD

MEAN_AP = "mAP"
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class MultiLabelMetric:
    """Keeps the probabilities of every image, as ranks are known at the end only.

    Classes without a positive image have no average precision and no F1, and do not count in means over classes.

    Args:
        class_names: One per class.
        threshold: From which probability a class is answered; None: the one that is best on these very images.
    """

    def __init__(self, class_names: Sequence[str], threshold: float | None = None) -> None:
        self.class_names, self.threshold = list(class_names), threshold
        self._answers: list[Floats] = []
        self._truths: list[Bools] = []

    def add(self, answers: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes) and labels (classes) of 0 and 1 each."""
        if len(answers):
            self._answers.append(torch.stack(list(answers)).float().cpu().numpy())
            self._truths.append(torch.stack(list(targets)).cpu().numpy() > 0.5)

    def state(self) -> tuple[list[Floats], list[Bools]]:
        """The probabilities and labels."""
        return self._answers, self._truths

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        answers, targets = state
        self._answers, self._truths = self._answers + answers, self._truths + targets

    def compute(self) -> dict[str, float]:
        """Figures over all images, from 0 to 1; without a positive image, or with answers that are no numbers, NaN.

        Returns:
            mAP: Mean over the classes of their average precision.
            f1_micro, f1_macro: F1 of all answers together, and mean of the classes' F1, at the threshold.
            f1_micro_at_0.5, f1_macro_at_0.5: The same at 0.5.
            threshold: What was given; else what makes `f1_micro` highest (0.5 where nothing can be said).
        """
        answers, targets = self._arrays()
        known = bool(targets.any() and np.isfinite(answers).all())
        threshold = self.threshold
        if threshold is None:
            threshold = best_threshold(answers, targets) if known else THRESHOLD
        names = (MEAN_AP, "f1_micro", "f1_macro", "f1_micro_at_0.5", "f1_macro_at_0.5")
        if not known:
            return {**dict.fromkeys(names, float("nan")), "threshold": threshold}
        there = targets.any(0)
        scores = [f1_scores(answers >= at, targets) for at in (threshold, THRESHOLD)]
        means = [value for micro, each in scores for value in (micro, float(each[there].mean()))]
        mean_ap = float(average_precisions(answers, targets)[there].mean())
        return {**dict(zip(names, (mean_ap, *means), strict=True)), "threshold": threshold}

    def rows(self) -> list[dict[str, str | int | float]]:
        """Of each class its positive images, average precision, and precision, recall and F1 at the threshold."""
        answers, targets = self._arrays()
        threshold = best_threshold(answers, targets) if self.threshold is None else self.threshold
        said = answers >= threshold
        hits, saids, trues = ((said & targets).sum(0), said.sum(0), targets.sum(0))
        aps, (_, f1s) = average_precisions(answers, targets), f1_scores(said, targets)
        return [
            {
                "class": name,
                "positives": int(trues[c]),
                "ap": float(aps[c]),
                "precision": float(hits[c] / max(saids[c], 1)),
                "recall": float(hits[c] / max(trues[c], 1)),
                "f1": float(f1s[c]),
            }
            for c, name in enumerate(self.class_names)
        ]

    def _arrays(self) -> tuple[Floats, Bools]:
        """(n, classes) each."""
        none = np.zeros((0, len(self.class_names)))
        return np.concatenate([none, *self._answers]), np.concatenate([none > 0, *self._truths])


def average_precisions(answers: Floats, targets: Bools, weights: Floats | None = None) -> Floats:
    """Average precision of each class, as scikit-learn has it: equal probabilities are one step of the ranking.

    Args:
        answers: (n, classes) probabilities.
        targets: (n, classes).
        weights: (..., n), how often each image counts; None: once.

    Returns:
        (..., classes); NaN for a class without a positive image.
    """
    weights = np.ones(len(answers)) if weights is None else weights
    found = np.full((*weights.shape[:-1], answers.shape[1]), np.nan)
    for c in np.flatnonzero(targets.any(0)):
        order = np.argsort(-answers[:, c], kind="stable")
        ranked, counts = answers[order, c], weights[..., order]
        hits = counts * targets[order, c]
        last = np.searchsorted(-ranked, -ranked, side="right") - 1  # of those as probable as each
        seen = np.maximum(counts.cumsum(-1), 1e-12)  # a resample may begin with images that it lacks
        precision = (hits.cumsum(-1) / seen)[..., last]
        total = hits.sum(-1)
        with np.errstate(invalid="ignore"):
            found[..., c] = (hits * precision).sum(-1) / total
    return found


def f1_scores(said: Bools, targets: Bools) -> tuple[float, Floats]:
    """F1 of all answers together (micro), and of each class (classes); 0 where nothing is right.

    Args:
        said: (n, classes), what is answered.
        targets: (n, classes), what is there.
    """
    hits, both = (said & targets).sum(0), said.sum(0) + targets.sum(0)
    return float(2 * hits.sum() / max(both.sum(), 1)), 2 * hits / np.maximum(both, 1)


def best_threshold(answers: Floats, targets: Bools) -> float:
    """The threshold with the highest micro F1: half-way between two probabilities; of several the nearest to 0.5.

    Args:
        answers: (n, classes) probabilities.
        targets: (n, classes), at least one of them true.
    """
    order = np.argsort(-answers, axis=None, kind="stable")
    ranked, right = answers.ravel()[order].astype(np.float64), targets.ravel()[order]
    f1 = 2 * right.cumsum() / (np.arange(1, len(ranked) + 1) + right.sum())
    below = np.append(ranked[1:], 0.0)
    f1[ranked == below] = -1.0  # equal probabilities are answered together
    cuts = (ranked + below)[f1 >= f1.max() - 1e-12] / 2
    return float(cuts[np.abs(cuts - THRESHOLD).argmin()])

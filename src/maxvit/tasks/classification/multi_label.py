"""What a multi-label network predicted for images with any number of labels each, and the metrics that follow.

Average precision and F1 are our own, and not scikit-learn's, because an interval needs them for hundreds of resamples
at once, and because whoever evaluates need not have it installed; a test compares them with scikit-learn's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.config import THRESHOLD
from maxvit.tasks.classification.auc import AUC, Areas, areas
from maxvit.tasks.classification.recorded import Recorded, as_array

MEAN_AP = "mAP"
RESAMPLES = 200
AT_ONCE = 20  # resamples: a number for each of their images is held
CLASSES_AT_ONCE = 64  # of which there is a number for each image
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]


class MultiLabelMetric(Recorded):
    """Keeps the probabilities of every image, as ranks are known at the end only.

    Classes without a positive image have no average precision and no F1, and do not count in means over classes.

    Args:
        class_names: One per class.
        threshold: The probability from which a class is predicted; None: the one that is best on these very images.

    Attributes:
        labels: (n, classes) bool, what each image shows.
    """

    def __init__(self, class_names: Sequence[str], threshold: float | None = None) -> None:
        super().__init__(class_names, np.zeros((0, len(class_names)), bool))
        self.given_threshold = threshold
        self._areas: tuple[int, Areas] | None = None  # of so many images

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes) and labels (classes) of 0 and 1 each."""
        if len(predictions):
            self.merge((as_array(predictions), torch.stack(list(targets)).cpu().numpy() > 0.5))

    @property
    def threshold(self) -> float:
        """What was given; else what makes `f1_micro` highest (0.5 where nothing can be said)."""
        if self.given_threshold is not None:
            return self.given_threshold
        known = self.labels.any() and np.isfinite(self.probabilities).all()
        return best_threshold(self.probabilities, self.labels) if known else THRESHOLD

    @property
    def predictions(self) -> Bools:
        """(n, classes), what is predicted."""
        return self.probabilities >= self.threshold

    @property
    def right(self) -> Bools:
        """(n,), whether the prediction names all that an image shows and nothing else."""
        return (self.predictions == self.labels).all(1)

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """(n,), binary cross-entropy in nats, summed over the classes."""
        of_truth = np.where(self.labels, self.probabilities, 1 - self.probabilities.astype(np.float64))
        return -np.log(np.maximum(of_truth, 1e-12)).sum(1)

    @property
    def loss(self) -> float:
        """Mean of `losses`."""
        return float(self.losses.mean())

    def compute(self) -> dict[str, float]:
        """Metrics of all images, from 0 to 1; NaN without a positive image, or where predictions are not numbers.

        Returns:
            mAP: Mean over the classes of their average precision.
            f1_micro, f1_macro: F1 of all predictions together, and mean of the classes' F1, at the threshold.
            f1_micro_at_0.5, f1_macro_at_0.5: The same at 0.5.
            auc: Mean of the areas under the classes' ROC curves.
            threshold: See the attribute.
        """
        threshold, names = self.threshold, (MEAN_AP, "f1_micro", "f1_macro", "f1_micro_at_0.5", "f1_macro_at_0.5", AUC)
        if not (self.labels.any() and np.isfinite(self.probabilities).all()):
            return {**dict.fromkeys(names, float("nan")), "threshold": threshold}
        there = self.labels.any(0)
        scores = [f1_scores(self.probabilities >= at, self.labels) for at in (threshold, THRESHOLD)]
        means = [value for micro, each in scores for value in (micro, float(each[there].mean()))]
        mean_ap = float(average_precisions(self.probabilities, self.labels)[there].mean())
        return {**dict(zip(names, (mean_ap, *means, self.areas.mean), strict=True)), "threshold": threshold}

    def rows(self) -> list[dict[str, str | int | float]]:
        """For each class its positive images, average precision, AUC, and precision, recall and F1 at the threshold."""
        said, truth = self.predictions, self.labels
        hits, saids, trues = (said & truth).sum(0), said.sum(0), truth.sum(0)
        aps, (_, f1s) = average_precisions(self.probabilities, truth), f1_scores(said, truth)
        return [
            {
                "class": name,
                "positives": int(trues[c]),
                "ap": float(aps[c]),
                AUC: float(self.areas.of_classes[c]),
                "precision": float(hits[c] / max(saids[c], 1)),
                "recall": float(hits[c] / max(trues[c], 1)),
                "f1": float(f1s[c]),
            }
            for c, name in enumerate(self.class_names)
        ]

    def intervals(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals, by the percentile bootstrap over images; of "auc", DeLong's.

        Args:
            seed: Seed of the 200 resamples; the same gives the same intervals.
        """
        n, random = len(self.labels), np.random.default_rng(seed)
        parts = [random.multinomial(n, np.full(n, 1 / n), AT_ONCE) for _ in range(RESAMPLES // AT_ONCE)]
        aps = [average_precisions(self.probabilities, self.labels, part.astype(np.float64)) for part in parts]
        measured = {MEAN_AP: _means(np.concatenate(aps))}
        weights = np.concatenate(parts).astype(np.float32)  # (RESAMPLES, n)
        trues = _counted(weights, self.labels)
        for name, said in {"": self.predictions, "_at_0.5": self.probabilities >= THRESHOLD}.items():
            hits, both = _counted(weights, said & self.labels), _counted(weights, said) + trues
            measured[f"f1_micro{name}"] = 2 * hits.sum(1) / np.maximum(both.sum(1), 1)
            measured[f"f1_macro{name}"] = _means(np.where(trues > 0, 2 * hits / np.maximum(both, 1), np.nan))
        ends = {name: np.quantile(values, (0.025, 0.975)).tolist() for name, values in measured.items()}
        return {**{name: (low, high) for name, (low, high) in ends.items()}, AUC: self.areas.interval}

    @property
    def areas(self) -> Areas:
        """The area under the ROC curve of each class."""
        if self._areas is None or self._areas[0] != len(self.labels):
            self._areas = len(self.labels), areas(self.probabilities, self.labels)
        return self._areas[1]

    def mistakes(self) -> list[int]:
        """Rows of the images that are not `right`, the largest loss first."""
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-self.losses[wrong], kind="stable")]]


def _counted(weights: Floats, images: Bools) -> Floats:
    """(resamples, classes): how often there is a true one; (resamples, n), (n, classes). Few classes at a time."""
    blocks = np.array_split(images, -(-images.shape[1] // CLASSES_AT_ONCE), axis=1)
    counts: Floats = np.concatenate([weights @ block.astype(np.float32) for block in blocks], axis=1)
    return counts


def _means(of_classes: Floats) -> Floats:
    """(resamples, classes) -> (resamples,): over the classes that are a number; NaN where none is."""
    means: Floats = np.ma.masked_invalid(of_classes).mean(1).filled(np.nan)
    return means


def average_precisions(probabilities: Floats, targets: Bools, weights: Floats | None = None) -> Floats:
    """Average precision of each class, as scikit-learn has it: equal probabilities are one step of the ranking.

    Args:
        probabilities: (n, classes).
        targets: (n, classes).
        weights: (..., n), how often each image counts; None: once.

    Returns:
        (..., classes); NaN for a class without a positive image.
    """
    weights = np.ones(len(probabilities)) if weights is None else weights
    found = np.full((*weights.shape[:-1], probabilities.shape[1]), np.nan)
    for c in np.flatnonzero(targets.any(0)):
        order = np.argsort(-probabilities[:, c], kind="stable")
        ranked, counts = probabilities[order, c], weights[..., order]
        hits = counts * targets[order, c]
        last = np.searchsorted(-ranked, -ranked, side="right") - 1  # of those as probable as each
        seen = np.maximum(counts.cumsum(-1), 1e-12)  # a resample may begin with images that it lacks
        precision = (hits.cumsum(-1) / seen)[..., last]
        total = hits.sum(-1)
        with np.errstate(invalid="ignore"):
            found[..., c] = (hits * precision).sum(-1) / total
    return found


def f1_scores(said: Bools, targets: Bools) -> tuple[float, Floats]:
    """F1 of all predictions together (micro), and of each class (classes); 0 where nothing is right.

    Args:
        said: (n, classes), what is predicted.
        targets: (n, classes), what is there.
    """
    hits, both = (said & targets).sum(0), said.sum(0) + targets.sum(0)
    return float(2 * hits.sum() / max(both.sum(), 1)), 2 * hits / np.maximum(both, 1)


def best_threshold(probabilities: Floats, targets: Bools) -> float:
    """The threshold with the highest micro F1: half-way between two probabilities; of several the nearest to 0.5.

    Args:
        probabilities: (n, classes).
        targets: (n, classes), at least one of them true.
    """
    order = np.argsort(-probabilities, axis=None, kind="stable")
    ranked, right = probabilities.ravel()[order].astype(np.float64), targets.ravel()[order]
    f1 = 2 * right.cumsum() / (np.arange(1, len(ranked) + 1) + right.sum())
    below = np.append(ranked[1:], 0.0)
    f1[ranked == below] = -1.0  # equal probabilities are predicted together
    cuts = (ranked + below)[f1 >= f1.max() - 1e-12] / 2
    return float(cuts[np.abs(cuts - THRESHOLD).argmin()])

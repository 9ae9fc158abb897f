"""The area under the ROC curve of each class against the rest: exact, with an interval; and from counts of scores.

Our own, and not scikit-learn's, because whoever evaluates need not have it installed, and because it gives no interval;
a test compares them.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from maxvit.tasks.classification.wilson import wilson_interval

AUC = "auc"
LOGITS = (-24.0, 17.0)  # what is outside is counted at the ends: a float32 cannot be nearer to 1
BINS, MOST_CELLS = 1024, 2**20  # of each class; of all of them
Floats = npt.NDArray[np.floating]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Areas:
    """The area under the ROC curve of each class: how often an image of it has a higher score than another image.

    Attributes:
        of_classes: (classes,); NaN for a class that all images show, or none, or whose scores are not numbers.
        added: (n,), how far each image moves the mean of the areas, times n.
    """

    of_classes: Floats
    added: Floats

    @property
    def mean(self) -> float:
        """The mean over the classes that have one; NaN if none has."""
        return float(self.of_classes[self._there].mean()) if self._there.any() else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the mean.

        The variance is DeLong's for one class. An image counts in all classes, so that their areas depend on each
        other: the variance of their mean is that of what each image adds to it. The interval is Wilson's for a share of
        as many images as have this variance, which stays between 0 and 1; of all images, where all is right.

        Reference: DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver
        Operating Characteristic Curves" (1988).
        """
        if not self._there.any():
            return float("nan"), float("nan")
        n, mean, squares = len(self.added), self.mean, float((self.added**2).sum())
        return wilson_interval(mean, n * n * mean * (1 - mean) / squares if squares > 0 else n)

    @property
    def _there(self) -> Bools:
        return ~np.isnan(self.of_classes)


def areas(scores: Floats, truth: Bools) -> Areas:
    """Measure `Areas`; six seconds or so for 50,000 images of 1,000 classes.

    Args:
        scores: (n, classes). Equal ones count half.
        truth: (n, classes), what each image shows.
    """
    n, classes = truth.shape
    found, added = np.full(classes, np.nan), np.zeros(n)
    for c in np.flatnonzero(truth.any(0) & ~truth.all(0) & np.isfinite(scores).all(0)):
        positive, placed = truth[:, c], placements(scores[:, c], truth[:, c])
        found[c] = placed[positive].mean()
        for some in (positive, ~positive):
            m = int(some.sum())
            added[some] += (placed[some] - found[c]) * sqrt(m / max(m - 1, 1)) * n / m
    return Areas(found, added / max(int(np.isfinite(found).sum()), 1))


def placements(scores: Floats, positive: Bools) -> Floats:
    """For an image of the class the share of others with a lower score; for another that of the class's with a higher.

    Args:
        scores: (n,). Equal ones count half.
        positive: (n,), at least one of them true and one false.

    Returns:
        (n,). The area is the mean over the positive ones, and over the others.
    """
    ranked = np.sort(scores[positive])
    below, up_to = (np.searchsorted(ranked, scores, side) for side in ("left", "right"))  # of the positive ones
    # another image has a lower score than a positive one where fewer of them are up to it, and so on
    lower, not_higher = (np.bincount(of[~positive], minlength=len(ranked) + 1).cumsum() for of in (up_to, below))
    others = len(scores) - len(ranked)
    shares: Floats = 1 - (below + up_to) / (2 * len(ranked))
    shares[positive] = ((lower + not_higher) / (2 * others))[below[positive]]
    return shares


class ScoreCounts:
    """How many images have each score, in bins of equal width of its logit: at most 16 MB, however many images.

    Scores in one bin count as equal. With up to 1,024 classes there are 1,024 bins or nearly so; with more there are
    fewer.

    Args:
        classes: How many there are.
    """

    def __init__(self, classes: int) -> None:
        self.bins = min(BINS, max(2, MOST_CELLS // max(classes, 1)))
        self.counts = np.zeros((2, classes, self.bins), np.int64)  # of all images, and of those of the class

    def add(self, probabilities: Floats, labels: Ints) -> None:
        """Count images: (n, classes) and (n,), the class of each."""
        n, classes = probabilities.shape
        known = np.nan_to_num(probabilities.astype(np.float64)).clip(1e-300, 1)
        with np.errstate(divide="ignore"):
            logits = (np.log(known) - np.log1p(-known)).clip(*LOGITS)
        width = (LOGITS[1] - LOGITS[0]) / (self.bins - 1)
        cells = np.arange(classes) * self.bins + ((logits - LOGITS[0]) / width).astype(np.int64)
        for counts, some in zip(self.counts, (cells.ravel(), cells[np.arange(n), labels]), strict=True):
            counts += np.bincount(some, minlength=counts.size).reshape(counts.shape)

    def state(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """The cells that are not empty, and their counts."""
        filled = np.flatnonzero(self.counts)
        return filled.astype(np.int32), self.counts.ravel()[filled].astype(np.int32)

    def merge(self, state: Any) -> Self:
        """Count the images of another process."""
        self.counts.ravel()[state[0]] += state[1]
        return self

    def auc(self) -> float:
        """The mean of the areas; NaN where no class has one."""
        everything, positive = self.counts
        others = everything - positive
        lower = others.cumsum(1) - others / 2
        pairs = positive.sum(1) * others.sum(1)
        there = pairs > 0
        areas = (positive * lower).sum(1)[there] / pairs[there]
        return float(areas.mean()) if there.any() else float("nan")


def one_of_many(labels: Ints, classes: int) -> Bools:
    """(n, classes), what each image shows, from (n,), its class."""
    return labels[:, None] == np.arange(classes)

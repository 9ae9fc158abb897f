"""Whether confidence can be believed: of predictions made with 80 %, four of five should be right."""

import numpy as np
import numpy.typing as npt

from maxvit.tasks.panels import Bin

BINS = 15
RESAMPLES = 1000
_EDGES = np.arange(BINS + 1) / BINS

Floats = npt.NDArray[np.floating]
Bins = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def bins(confidences: Floats, right: Bools) -> list[Bin]:
    """The 15 bins of equal width, lowest first: what a reliability diagram shows.

    Args:
        confidences: (n,), the probability of each prediction, above 0 and up to 1.
        right: (n,), whether it is right.
    """
    which = _which(confidences)
    images = np.bincount(which, minlength=BINS)
    sums = (np.bincount(which, weights=values, minlength=BINS) for values in (confidences, right))
    confidence, accuracy = (total / np.maximum(images, 1) for total in sums)
    columns = (_EDGES[:-1], _EDGES[1:], images, confidence, accuracy)
    return [Bin(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def calibration_error(confidences: Floats, right: Bools) -> float:
    """Expected calibration error: |accuracy - mean confidence| of the bins, weighted by their images.

    Reference: Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3, with 15 bins.
    """
    return _error(_which(confidences), _gaps(confidences, right))


def calibration_interval(confidences: Floats, right: Bools, seed: int = 0) -> tuple[float, float]:
    """95 % confidence interval of the calibration error, by the basic bootstrap over images.

    The error is too large where images are few, as a chance deviation of any bin counts as one; and of resampled
    images it is too large once more. The basic interval, error minus (resampled - error), takes that off again; the
    percentile interval would hardly ever contain the error of a network that is calibrated well. So this one can be
    below the error itself.

    Args:
        confidences: As for `bins`.
        right: As for `bins`.
        seed: Seed of the 1000 resamples; the same gives the same interval.
    """
    which, gaps = _which(confidences), _gaps(confidences, right)
    random = np.random.default_rng(seed)
    picks = (random.integers(len(which), size=len(which)) for _ in range(RESAMPLES))
    low, high = np.quantile([_error(which[pick], gaps[pick]) for pick in picks], (0.025, 0.975))
    error = _error(which, gaps)
    return max(0.0, 2 * error - float(high)), min(1.0, max(0.0, 2 * error - float(low)))


def _which(confidences: Floats) -> Bins:
    """The bin of each; a confidence that rounding left a little above 1 is in the last."""
    return np.clip(np.searchsorted(_EDGES, confidences, side="left") - 1, 0, BINS - 1)


def _gaps(confidences: Floats, right: Bools) -> Floats:
    """1 or 0 for right or wrong, minus the confidence."""
    return right.astype(np.float64) - confidences


def _error(which: Bins, gaps: Floats) -> float:
    """|sum of the gaps| of each bin, over all images."""
    return float(np.abs(np.bincount(which, weights=gaps, minlength=BINS)).sum() / len(which))

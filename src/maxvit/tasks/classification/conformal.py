"""Prediction sets: all classes from a probability up, chosen so that the true one is among them as often as is asked.

Reference: Sadinle et al., "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels" (2019), section 2. It is
split conformal prediction: the set holds the true class of a new image with at least the probability that is asked, if
that image and those of validation come from the same source (Lei et al., 2018, theorem 2.2).
"""

from collections.abc import Sequence
from math import ceil, floor, log10

import numpy as np
import numpy.typing as npt

COVERAGES = tuple(promille / 1000 for promille in (*range(500, 990, 5), *range(990, 1000)))
DIGITS = 6  # of a threshold; rounded down, which can only add a class


def find_thresholds(probabilities: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """The probability from which a class belongs to the set, for each of `COVERAGES`.

    Args:
        probabilities: (n,), that of the true class of each validation image.

    Returns:
        Numbers that never rise. There are fewer of them where there are too few images for the highest coverages: n
        images serve up to n / (n + 1).
    """
    highest_first = np.sort(probabilities)[::-1]
    # a new image is as likely in each of the n + 1 places among them
    ranks = [ceil((len(highest_first) + 1) * coverage - 1e-9) for coverage in COVERAGES]
    return tuple(_rounded_down(float(highest_first[rank - 1])) for rank in ranks if rank <= len(highest_first))


def _rounded_down(value: float) -> float:
    if value <= 0:
        return 0.0
    unit = 10.0 ** (DIGITS - 1 - floor(log10(value)))
    return floor(value * unit) / unit


def threshold_for(thresholds: Sequence[float], coverage: float) -> float:
    """The probability from which a class belongs to the set, for this coverage or the next of `COVERAGES` above it.

    Args:
        thresholds: As `find_thresholds` gives them.
        coverage: From 0.5 up, below 1.

    Raises:
        ValueError: If it is not known: the message says why, and what to do.
    """
    if not thresholds:
        raise ValueError(
            "the network has no thresholds for it, which training finds on the validation images: train it again"
        )
    place = next((i for i, known in enumerate(COVERAGES) if known >= coverage - 1e-9), len(COVERAGES))
    if place == len(COVERAGES):
        raise ValueError(f"the highest coverage is {COVERAGES[-1]}")
    if place >= len(thresholds):
        wanted = ceil(round(COVERAGES[place] / (1 - COVERAGES[place]), 6))
        raise ValueError(
            f"this takes {wanted} validation images, and the network was validated on fewer: ask for "
            f"{COVERAGES[len(thresholds) - 1]} at most, or train with more of them"
        )
    return thresholds[place]

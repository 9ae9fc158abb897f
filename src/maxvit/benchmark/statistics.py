"""What times say: median, 20th and 80th percentile, and ratios pair by pair."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, 20th and 80th percentile."""

    median: float
    p20: float
    p80: float


def spread(values: Sequence[float]) -> Spread:
    """Of at least two values; percentiles between two values are interpolated."""
    p20, *_, p80 = quantiles(values, n=5, method="inclusive")
    return Spread(median(values), p20, p80)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """How many times as long they took, round by round: what slows a whole round down cancels.

    Args:
        ours: Seconds, one a round.
        theirs: Seconds, of the same rounds.
    """
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])

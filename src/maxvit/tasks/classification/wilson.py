"""How sure a share of images is."""

from math import sqrt


def wilson_interval(share: float, n: float) -> tuple[float, float]:
    """95 % confidence interval of a share of n images (Wilson, without continuity correction)."""
    z = 1.959964
    centre, half = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding can step outside

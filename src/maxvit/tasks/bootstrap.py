"""How sure metrics are, where no formula says so: they are measured again on images that are drawn with repeats."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

RESAMPLES = 200


def bootstrap_intervals(
    images: int, measure: Callable[[npt.NDArray[np.int64]], Mapping[str, float]], seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % confidence intervals, by the percentile bootstrap over images.

    Args:
        images: How many there are.
        measure: From some of them, (images,) numbers from 0 with repeats, to metrics by name.
        seed: Seed of the 200 resamples; the same gives the same intervals.

    Returns:
        For each metric; without those that are not a number in a resample, as there are too few images to tell.
    """
    random = np.random.default_rng(seed)
    found = [measure(random.integers(images, size=images)) for _ in range(RESAMPLES)] if images else []
    values = {name: [one[name] for one in found] for name in (found[0] if found else ())}
    ends = {name: np.quantile(v, (0.025, 0.975)).tolist() for name, v in values.items() if np.isfinite(v).all()}
    return {name: (low, high) for name, (low, high) in ends.items()}

"""The nearest others of each image, by features."""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

_BLOCK = 1024  # images that are compared with all others at once


def nearest(
    features: npt.NDArray[np.float32], number: int, track: Callable[[range], Iterator[int]] = iter
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Indices (n, k) of the k nearest others of each image, the nearest first, and the distances.

    Args:
        features: (n, F).
        number: How many are wanted; k is less where there are fewer others.
        track: Passes the steps of the search on, and may draw them.
    """
    kept = min(number, len(features) - 1)
    squares = (features**2).sum(1)
    indices, distances = np.zeros((len(features), kept), np.int64), np.zeros((len(features), kept))
    for start in track(range(0, len(features), _BLOCK)):
        chosen = slice(start, start + _BLOCK)
        apart = squares[chosen, None] + squares - 2 * features[chosen] @ features.T  # (block, n)
        apart[np.arange(len(apart)), np.arange(start, start + len(apart))] = np.inf  # each from itself
        found = np.argpartition(apart, kept - 1, axis=1)[:, :kept]
        found = np.take_along_axis(found, np.take_along_axis(apart, found, 1).argsort(1), 1)
        indices[chosen] = found
        distances[chosen] = np.sqrt(np.maximum(np.take_along_axis(apart, found, 1), 0))
    return indices, distances

"""Images unlike all others: those whose nearest neighbours are far away."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

_NEIGHBOURS = 5
_MOST, _SHARE = 12, 0.01  # of the images, how many are named
_BLOCK = 1024  # images that are compared with all others at once


@dataclass(frozen=True, slots=True)
class Outlier:
    """An image far from its neighbours.

    Attributes:
        image: Index of the image.
        distance: Mean distance to its five nearest neighbours; 1 is the median over the images.
    """

    image: int
    distance: float


def find_outliers(features: npt.NDArray[np.float32]) -> list[Outlier]:
    """The images that are furthest from their neighbours, the furthest first: one in a hundred, and at most 12.

    Args:
        features: (n, F); of fewer than 20 images none is told apart.
    """
    if len(features) < 4 * _NEIGHBOURS:
        return []
    squares = (features**2).sum(1)
    distances = np.empty(len(features))
    for start in range(0, len(features), _BLOCK):
        chosen = slice(start, start + _BLOCK)
        apart = squares[chosen, None] + squares - 2 * features[chosen] @ features.T  # (block, n)
        apart[np.arange(len(apart)), np.arange(start, start + len(apart))] = np.inf  # each from itself
        nearest = np.partition(apart, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
        distances[chosen] = np.sqrt(np.maximum(nearest, 0)).mean(1)
    distances /= max(np.median(distances), 1e-6)
    number = min(_MOST, ceil(_SHARE * len(features)))
    return [Outlier(int(i), float(distances[i])) for i in np.argsort(-distances, kind="stable")[:number]]

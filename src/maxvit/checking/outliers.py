"""Images unlike all others: those whose nearest neighbours are far away."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

NEIGHBOURS = 5
_FEWEST = 20  # images, of which one may be told apart
_MOST, _SHARE = 12, 0.01  # of the images, how many are named


@dataclass(frozen=True, slots=True)
class Outlier:
    """An image far from its neighbours.

    Attributes:
        image: Index of the image.
        distance: Mean distance to its five nearest neighbours; 1 is the median over the images.
    """

    image: int
    distance: float


def find_outliers(distances: npt.NDArray[np.float64]) -> list[Outlier]:
    """The images that are furthest from their neighbours, the furthest first: one in a hundred, and at most 12.

    Args:
        distances: (n, NEIGHBOURS), of each image to its nearest neighbours; of fewer than 20 images none is named.
    """
    if len(distances) < _FEWEST:
        return []
    far = distances.mean(1)
    far /= max(np.median(far), 1e-6)
    number = min(_MOST, ceil(_SHARE * len(far)))
    return [Outlier(int(i), float(far[i])) for i in np.argsort(-far, kind="stable")[:number]]

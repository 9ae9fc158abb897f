"""Two photographs that need no download: those that scikit-learn comes with."""

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt


def photographs() -> list[npt.NDArray[np.uint8]]:
    """A temple and a flower, (427, 640, 3) each; none where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        return []
    from sklearn import datasets

    return list(datasets.load_sample_images().images)

"""Images that need no download, for scikit-learn ships them: a data set of handwritten digits, and two photographs."""

from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from maxvit.data.dataset import LabelledImages, Splits, split

DIGITS = "digits"  # in place of a path
HELD_OUT = 360


def load_digits() -> Splits:
    """1,797 real digits (UCI, 8 x 8 grey): train and validation images, and 360 test images (stratified, seed 0)."""
    from sklearn import datasets

    data = datasets.load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    everything = LabelledImages(
        list(pixels),
        [int(label) for label in data.target],
        [str(i) for i in range(10)],
        [f"digit {i}" for i in range(len(pixels))],
    )
    kept, test = split(everything, HELD_OUT, seed=0)
    train, val = split(kept, 0.1, seed=0)
    return Splits(train, val, test)


def photographs() -> list[npt.NDArray[np.uint8]]:
    """A temple and a flower, (427, 640, 3) each; none where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        return []
    from sklearn import datasets

    return list(datasets.load_sample_images().images)

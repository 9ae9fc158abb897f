"""Scikit-learn's 1,797 real handwritten digits (UCI, 8 x 8 grey): a data set that needs no download."""

import numpy as np

from maxvit.data.dataset import LabelledImages, Splits, split

DIGITS = "digits"  # in place of a path
HELD_OUT = 360


def load_digits() -> Splits:
    """Train and validation images, and 360 test images (stratified, random_state 0)."""
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

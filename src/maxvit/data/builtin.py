"""Images that need no download: handwritten digits and two photographs, of scikit-learn; and those of formulas."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

from maxvit.data.dataset import LabelledImages, Splits, split
from maxvit.data.formulas.source import is_formulas, load_all, load_formulas

DIGITS = "digits"  # in place of a path
HELD_OUT = 360


def is_builtin(place: str) -> bool:
    """Whether this stands for one of these data sets, and not for a path."""
    return place == DIGITS or is_formulas(place)


def load_builtin(place: str, val_fraction: float) -> Splits:
    """What `is_builtin`; of formulas a share is held out. Raises `MaxViTError` on formulas that are not possible."""
    return load_formulas(place, val_fraction) if is_formulas(place) else load_digits()


def load_builtin_eval(place: str) -> LabelledImages:
    """The images to evaluate on: the test part of the digits; of formulas all. Raises as `load_builtin`."""
    if is_formulas(place):
        return load_all(place)
    test = load_digits().test
    assert test is not None
    return test


def read_builtin_parts(place: str) -> dict[str, LabelledImages]:
    """All images by part: of the digits train, val and test; of formulas all. Raises as `load_builtin`."""
    if is_formulas(place):
        return {"all": load_all(place)}
    digits = load_digits()
    assert digits.test is not None
    return {"train": digits.train, "val": digits.val, "test": digits.test}


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
    return Splits(replace(train, part="train"), replace(val, part="val"), replace(test, part="test"))


def photographs() -> list[npt.NDArray[np.uint8]]:
    """A temple and a flower, (427, 640, 3) each; none where scikit-learn is not installed."""
    if find_spec("sklearn") is None:
        return []
    from sklearn import datasets

    return list(datasets.load_sample_images().images)

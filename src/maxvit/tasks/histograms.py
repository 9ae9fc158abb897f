"""What can be told without a network: by a linear model on a histogram of colours and one of edges.

A trained network that is not ahead of it has learned nothing worth its time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.config import Preprocessing
from maxvit.data.bands import Bands, Picture
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode
from maxvit.errors import MaxViTError
from maxvit.tasks.protocols import Baseline

NAME = "a histogram of colours and edges"
SIDE, CELL, ANGLES, SHADES = 64, 8, 9, 4  # pixels, pixels of a cell, bins of half a turn, of each of three colours
MOST = 2000  # images to learn from, and to be tested on
STRENGTHS = np.logspace(0, 5, 11)  # of the penalty
Floats = npt.NDArray[np.float32]


def histogram_baseline(train: LabelledImages, test: LabelledImages, spec: Preprocessing) -> Baseline | None:
    """Accuracy of a linear classifier; None without scikit-learn or two classes, or where hardly an image can be read.

    Args:
        train: Images of one class each to learn from, of which 2000 are used, evenly spread; as many of `test`.
        test: Images to be tested on.
        spec: How values of more than 8 bits are read.
    """
    try:
        from sklearn.linear_model import RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        return None
    features, labels = _described(train, spec)
    others, wanted = _described(test, spec)
    if len(set(labels)) < 2 or not wanted:
        return None
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(STRENGTHS)).fit(features, labels)
    return Baseline(NAME, "accuracy", float(classifier.score(others, wanted)))


def histogram_regression(train: LabelledImages, test: LabelledImages, spec: Preprocessing) -> Baseline | None:
    """R2 of a ridge regression, the mean over the outputs, of images with numbers, (n, outputs).

    Arguments are those of `histogram_baseline`. None without scikit-learn, or where hardly an image can be read.
    """
    try:
        from sklearn.linear_model import RidgeCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        return None
    features, targets = _described(train, spec)
    others, wanted = _described(test, spec)
    if len(targets) < 2 or len(wanted) < 2:
        return None
    # each output has a strength of its own, as their scales differ
    penalised = RidgeCV(STRENGTHS, alpha_per_target=np.ndim(targets) > 1)
    model = make_pipeline(StandardScaler(), penalised).fit(features, np.array(targets))
    return Baseline(NAME, "r2", float(model.score(others, np.array(wanted))))


def _described(images: LabelledImages, spec: Preprocessing) -> tuple[Floats, Sequence[Any]]:
    """Features (n, F) and labels of those that can be read."""
    features, labels = [], []
    for i in np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(int).tolist():
        try:
            features.append(describe(decode(images.sources[i], spec)))
        except (MaxViTError, OSError):
            continue
        labels.append(images.labels[i])
    return np.array(features), labels


def describe(picture: Picture) -> Floats:
    """Features of an image: (640,) in RGB, (16 x C + 576,) of C bands."""
    pixels = np.asarray(picture.resize((SIDE, SIDE)), np.float32)
    shades = bands(pixels) if isinstance(picture, Bands) else colours(pixels)
    return np.concatenate([shades, edges(pixels)])


def bands(pixels: Floats) -> Floats:
    """(16 x C,): roots of the shares of 16 shades of each band, of an image (H, W, C) with values up to 255."""
    each = [np.histogram(band, 16, (0, 256))[0] / band.size for band in np.moveaxis(pixels, 2, 0)]
    return np.sqrt(np.concatenate(each)).astype(np.float32)


def colours(pixels: Floats) -> Floats:
    """(64,): roots of the shares of 4 x 4 x 4 colours, of an image (H, W, 3) with values up to 255."""
    shades = (pixels * SHADES / 256).astype(np.int64)
    which = (shades[..., 0] * SHADES + shades[..., 1]) * SHADES + shades[..., 2]
    shares = np.bincount(which.ravel(), minlength=SHADES**3) / which.size
    return np.sqrt(shares).astype(np.float32)


def edges(pixels: Floats) -> Floats:
    """(576,): for 8 x 8 cells how strong the edges at 9 angles are, beside those of the cells around.

    Reference: Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection" (2005), simplified.
    """
    grey = pixels.mean(2)
    down, across = np.gradient(grey)
    strength = np.hypot(down, across)
    angle = (np.arctan2(down, across) % np.pi * (ANGLES / np.pi)).astype(np.int64) % ANGLES
    row, column = np.indices(grey.shape) // CELL
    cells = SIDE // CELL
    where = ((row * cells + column) * ANGLES + angle).ravel()
    sums = np.bincount(where, strength.ravel(), cells * cells * ANGLES).reshape(cells, cells, ANGLES)
    energy = np.pad((sums**2).sum(2), 1)
    around = sum(energy[y : y + cells, x : x + cells] for y in range(3) for x in range(3))
    return (sums / np.sqrt(around + 1)[..., None]).ravel().astype(np.float32)

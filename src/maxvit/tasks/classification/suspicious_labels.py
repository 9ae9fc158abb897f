"""Labels that look wrong: what a regression on features says of images that it did not learn from."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from maxvit.tasks.classification.linear import cross_validate
from maxvit.tasks.suspicion import Suspicion

_RATIO = 30.0  # by how much the likeliest class is more probable than the given one, at least
_USUAL = 0.5  # share of a class's mean self-confidence that its probability reaches, at least


def find_suspicious(features: npt.NDArray[np.float32], labels: Sequence[int]) -> list[Suspicion]:
    """Labels that look wrong, the least probable first, by a logistic regression of the strength that judges best.

    Args:
        features: (n, F).
        labels: Class of each image; at least two classes, each of at least `FOLDS` images of `linear`.
    """
    given = np.asarray(labels)
    return judge(cross_validate(features, np.unique(given, return_inverse=True)[1])[1], given)


def judge(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> list[Suspicion]:
    """Labels that look wrong, the least probable first.

    As in confident learning, a class speaks for itself by its mean self-confidence, the mean probability of that class
    over the images that have it as their label. A label is suspicious where another class is likeliest, is at least
    half as probable as its own images are on average, and is 30 times as probable as the label. (Confident learning
    asks for the whole self-confidence and for no ratio; it then takes similar classes for mistakes.)

    Args:
        probabilities: (n, classes that occur, in order), each row from a regression that did not learn from the image;
            rows of NaN are not judged.
        labels: (n,), class of each image.

    Reference:
        Northcutt et al., Confident Learning, arXiv 1911.00068.
    """
    classes, given = np.unique(labels, return_inverse=True)
    own = probabilities[np.arange(len(given)), given]
    usual = np.array([own[given == c].mean() for c in range(len(classes))])
    likely = probabilities.argmax(1)
    best = probabilities[np.arange(len(given)), likely]
    wrong = (likely != given) & (best >= _USUAL * usual[likely]) & (best >= _RATIO * own)
    order = [int(i) for i in np.argsort(own, kind="stable") if wrong[i]]
    return [Suspicion(i, int(labels[i]), int(classes[likely[i]]), float(best[i]), float(own[i])) for i in order]

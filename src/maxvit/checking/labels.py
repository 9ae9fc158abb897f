"""Labels that look wrong: what a regression on features says of images that it did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from maxvit.tasks.classification.linear import STRENGTHS, log_loss, out_of_fold

_RATIO = 30.0  # by how much the likeliest class is more probable than the given one, at least
_USUAL = 0.5  # share of a class's mean self-confidence that its probability reaches, at least


@dataclass(frozen=True, slots=True)
class Suspicion:
    """A label that looks wrong.

    Attributes:
        image: Index of the image.
        likely: Index of the class that it looks like.
        likely_probability: Probability of that class, 0 to 1, from a regression that did not see the image.
        given_probability: Probability of the class that is given.
    """

    image: int
    likely: int
    likely_probability: float
    given_probability: float


def find_suspicious(features: npt.NDArray[np.float32], labels: Sequence[int]) -> list[Suspicion]:
    """Labels that look wrong, the least probable first.

    Each image is judged by a logistic regression on others (cross-validation), of the strength that judges best. As in
    confident learning, a class speaks for itself by its mean self-confidence, the mean probability of that class over
    the images that have it as their label. A label is suspicious where another class is likeliest, is at least half as
    probable as its own images are on average, and is 30 times as probable as the label. (Confident learning asks for
    the whole self-confidence and for no ratio; it then takes similar classes for mistakes.)

    Args:
        features: (n, F).
        labels: Class of each image; at least two classes, each of at least `FOLDS` images of `linear`.

    Reference:
        Northcutt et al., Confident Learning, arXiv 1911.00068.
    """
    classes, given = np.unique(np.asarray(labels), return_inverse=True)
    tried = [out_of_fold(features, given, strength) for strength in STRENGTHS]
    probabilities = min(tried, key=lambda found: log_loss(found, given))
    own = probabilities[np.arange(len(given)), given]
    usual = np.array([own[given == c].mean() for c in range(len(classes))])
    likely = probabilities.argmax(1)
    best = probabilities[np.arange(len(given)), likely]
    wrong = (likely != given) & (best >= _USUAL * usual[likely]) & (best >= _RATIO * own)
    order = [int(i) for i in np.argsort(own, kind="stable") if wrong[i]]
    return [Suspicion(i, int(classes[likely[i]]), float(best[i]), float(own[i])) for i in order]

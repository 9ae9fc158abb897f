"""Linear classifiers on the features of a network that stays as it is."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

FOLDS = 5  # a class with fewer images has none in some of them
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)  # inverses of the regression's penalty; of fewer images larger ones are best
DIMENSIONS = 256  # that features are reduced to
_USUAL = 0.1  # strength, where images are too few to try several, or classes too many
_MANY = 50  # classes, from which the strength is not tried
_STEPS, _LAST_STEPS, _FEWEST_STEPS = 100, 300, 10
_WORK = 2_000_000_000  # steps times images times classes, at most where more than the fewest steps are taken
_SMALLEST = 1e-6  # deviation
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reduction:
    """The main directions of standardised features.

    A direction's deviation becomes its root: the main ones count most, and the others are still heard.

    Attributes:
        mean: (F,).
        scale: (F,), the inverse of the deviations.
        directions: (F, D), D at most 256.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Reduction":
        """That of features (n, F) float32; the same for the same features."""
        mean = features.mean(0)
        scale = 1 / features.std(0, correction=0).clamp_min(_SMALLEST)
        normed = (features - mean) * scale
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            _, _, directions = torch.pca_lowrank(normed, q=min(DIMENSIONS, *normed.shape), center=False)
        deviations = (normed @ directions).std(0, correction=0).clamp_min(_SMALLEST)
        return cls(mean, scale, directions / deviations.sqrt())

    def __call__(self, features: Tensor) -> Tensor:
        """(n, F) -> (n, D)."""
        return ((features - self.mean) * self.scale) @ self.directions


def reduce(features: npt.NDArray[np.floating[Any]]) -> Floats:
    """Features (n, F) in their own main directions: (n, D)."""
    seen = torch.from_numpy(features.astype(np.float32))
    reduced: Floats = Reduction.of(seen)(seen).numpy()
    return reduced


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear classifier of standardised features: (features - mean) * scale, times weight, plus bias.

    Attributes:
        mean: (F,).
        scale: (F,).
        weight: (classes, F).
        bias: (classes,).
        out_of_fold: (n, classes that occur), probabilities of the images that it was fitted to, each from a regression
            that did not learn from the image; NaN of those of classes with fewer than `FOLDS` images. None: not known.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    out_of_fold: npt.NDArray[np.float64] | None = None


def fit_linear(features: Tensor, targets: Tensor, num_classes: int, balanced: bool = False) -> Linear:
    """A logistic regression on the main directions of features, its strength chosen by cross-validation.

    Args:
        features: (n, F) float32.
        targets: A class for each image (n,) int64; or which classes there are, (n, classes) bool.
        num_classes: What the classifier tells apart. A class that no image has gets no weight, and a low score.
        balanced: Rare classes count as much as common ones.

    Raises:
        ImportError: Without scikit-learn.
    """
    reduction = Reduction.of(features)
    reduced, judged = reduction(features).numpy(), None
    if targets.ndim == 2:
        weight, bias = _each_class(reduced, targets.numpy(), balanced)
    else:
        weight, bias, judged = _one_class(reduced, targets.numpy(), num_classes, balanced)
    inner = torch.from_numpy(weight.astype(np.float32)) @ reduction.directions.T
    return Linear(reduction.mean, reduction.scale, inner, torch.from_numpy(bias.astype(np.float32)), judged)


def _one_class(
    features: Floats, targets: npt.NDArray[np.int64], num_classes: int, balanced: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Weight (classes, D), bias (classes,), and what `Linear.out_of_fold` is."""
    classes, given, counts = np.unique(targets, return_inverse=True, return_counts=True)
    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, -10.0)
    if len(classes) < 2:
        bias[classes] = 0
        return weight, bias, None
    strength, judged, common = _USUAL, None, counts >= FOLDS
    if len(classes) < _MANY and common.all():
        strength, judged = cross_validate(features, given, balanced)
    elif len(classes) < _MANY and common.sum() > 1:
        judged = _judge_common(features, given, common, balanced)
    steps = max(_FEWEST_STEPS, min(_LAST_STEPS, _WORK // (len(given) * len(classes))))
    regression = fit_logistic(features, given, strength, balanced, steps)
    if len(classes) == 2:  # scikit-learn has one row of weights for both
        weight[classes] = np.concatenate([-regression.coef_, regression.coef_]) / 2
        bias[classes] = np.concatenate([-regression.intercept_, regression.intercept_]) / 2
    else:
        weight[classes], bias[classes] = regression.coef_, regression.intercept_
    return weight, bias, judged


def _judge_common(
    features: Floats, labels: npt.NDArray[np.int64], common: npt.NDArray[np.bool_], balanced: bool
) -> npt.NDArray[np.float64]:
    """`Linear.out_of_fold`, where only the classes that are `common` have images enough."""
    asked = common[labels]
    found = np.where(asked[:, None], np.zeros(len(common)), np.nan)
    numbers = np.cumsum(common) - 1  # of the common classes alone
    found[np.ix_(asked, common)] = cross_validate(features[asked], numbers[labels[asked]], balanced)[1]
    return found


def _each_class(
    features: Floats, targets: npt.NDArray[np.bool_], balanced: bool
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The same of independent classes."""
    number, num_classes = targets.shape
    weight = np.zeros((num_classes, features.shape[1]))
    share = (targets.sum(0) + 0.5) / (number + 1)
    bias = np.log(share / (1 - share))
    for c in range(num_classes):
        if targets[:, c].any() and not targets[:, c].all():
            regression = fit_logistic(features, targets[:, c], _USUAL, balanced, _STEPS)
            weight[c], bias[c] = regression.coef_[0], regression.intercept_[0]
    return weight, bias


def cross_validate(
    features: Floats, labels: npt.NDArray[np.int64], balanced: bool = False
) -> tuple[float, npt.NDArray[np.float64]]:
    """The strength that judges best, and what it says of each image: see `out_of_fold`."""
    tried = {strength: out_of_fold(features, labels, strength, balanced) for strength in STRENGTHS}
    best = min(tried, key=lambda strength: log_loss(tried[strength], labels))
    return best, tried[best]


def out_of_fold(
    features: Floats, labels: npt.NDArray[np.int64], strength: float, balanced: bool = False
) -> npt.NDArray[np.float64]:
    """(n, classes) probabilities, each from a regression that did not learn from the image.

    Args:
        features: (n, D).
        labels: (n,), from 0, each class at least `FOLDS` times.
        strength: Inverse of the penalty.
        balanced: Rare classes count as much as common ones.
    """
    from sklearn.model_selection import StratifiedKFold

    found = np.zeros((len(labels), labels.max() + 1))
    for known, asked in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features, labels):
        regression = fit_logistic(features[known], labels[known], strength, balanced)
        found[asked] = regression.predict_proba(features[asked])
    return found


def fit_logistic(
    features: Floats, labels: npt.NDArray[Any], strength: float, balanced: bool, steps: int = _STEPS
) -> "LogisticRegression":
    """scikit-learn's logistic regression, near its end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weights = "balanced" if balanced else None
    regression = LogisticRegression(C=strength, max_iter=steps, tol=1e-3, class_weight=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # near its end is good enough
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # two images of each, say
        return regression.fit(features, labels)


def log_loss(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Mean of the negative logarithms of the labels' probabilities."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean())

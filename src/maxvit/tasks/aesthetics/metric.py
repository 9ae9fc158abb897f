"""How well scores follow those that people gave: correlations, distance, and good told from bad."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.errors import require
from maxvit.tasks.aesthetics.loss import earth_movers_distance
from maxvit.tasks.aesthetics.predictions import deviations, means
from maxvit.tasks.bootstrap import bootstrap_intervals

Values = npt.NDArray[np.float64]
_GOOD = 5.0 + 1e-6  # AVA's two classes: a mean above 5, or not; shares are rounded, and 5 itself is common


class AestheticsMetric:
    """Keeps the shares of every image: ranks are known at the end only."""

    def __init__(self) -> None:
        require("the correlation of scores", "scipy")  # before images are looked at
        self._answers: list[Tensor] = []
        self._truths: list[Tensor] = []

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: (N,) shares each."""
        self._answers += [prediction.detach().cpu().double() for prediction in predictions]
        self._truths += [truth.detach().cpu().double() for truth in targets]

    def state(self) -> tuple[list[list[float]], list[list[float]]]:
        """The shares, as plain lists."""
        return [a.tolist() for a in self._answers], [t.tolist() for t in self._truths]

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        predictions, targets = state
        self.add([torch.tensor(a) for a in predictions], [torch.tensor(t) for t in targets])

    def compute(self) -> dict[str, float]:
        """Metrics over all images; one that is not defined, such as a correlation with a constant, is NaN.

        Returns:
            srcc, plcc: Rank correlation (Spearman) and linear correlation (Pearson) of the mean scores.
            srcc_deviation, plcc_deviation: The same of the standard deviations of the scores.
            emd: Mean earth mover's distance with r = 1, as NIMA reports it.
            accuracy: Share of images whose mean score is on the right side of 5 (above it is good).

        Raises:
            MaxViTError: If SciPy is missing.
        """
        if not self._answers:
            names = ("srcc", "plcc", "srcc_deviation", "plcc_deviation", "emd", "accuracy")
            return dict.fromkeys(names, math.nan)
        return _metrics(self._columns())

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals, by the bootstrap over images; some seconds for 20,000 images."""
        if not self._answers:
            return {}
        columns = self._columns()
        return bootstrap_intervals(columns.shape[1], lambda drawn: _metrics(columns[:, drawn]))

    def _columns(self) -> Values:
        """Mean scores, predicted and true, deviations, predicted and true, distance, and right side of 5: (6, n)."""
        predictions, targets = torch.stack(self._answers), torch.stack(self._truths)
        mean, true_mean = means(predictions), means(targets)
        right = ((mean > _GOOD) == (true_mean > _GOOD)).double()
        distances = earth_movers_distance(predictions, targets, 1)
        columns = (mean, true_mean, deviations(predictions), deviations(targets), distances, right)
        return torch.stack(columns).numpy()

    def rows(self) -> list[dict[str, str | int | float]]:
        """None: there are no classes."""
        return []


def _metrics(columns: Values) -> dict[str, float]:
    mean, true_mean, deviation, true_deviation, distances, right = columns
    return {
        "srcc": correlation(mean, true_mean, by_rank=True),
        "plcc": correlation(mean, true_mean, by_rank=False),
        "srcc_deviation": correlation(deviation, true_deviation, by_rank=True),
        "plcc_deviation": correlation(deviation, true_deviation, by_rank=False),
        "emd": float(distances.mean()),
        "accuracy": float(right.mean()),
    }


def correlation(x: Values, y: Values, by_rank: bool) -> float:
    """Correlation of two lists; NaN for fewer than two numbers, a list that is constant, or one that is not finite.

    Raises:
        MaxViTError: If SciPy is missing.
    """
    require("the correlation of scores", "scipy")
    from scipy import stats

    if any(len(v) < 2 or not np.isfinite(v).all() or np.ptp(v) <= 1e-9 * np.abs(v).max() for v in (x, y)):
        return math.nan
    x, y = (stats.rankdata(v) for v in (x, y)) if by_rank else (x, y)
    return float(np.corrcoef(x, y)[0, 1])

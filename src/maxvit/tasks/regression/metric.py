"""How well numbers are predicted: the share of the variance that is explained, and errors in the units of the data."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.tasks.bootstrap import bootstrap_intervals

Values = npt.NDArray[np.float64]
NAMES = ("r2", "mae", "rmse")


class RegressionMetric:
    """Keeps the numbers of every image.

    Args:
        class_names: What is predicted, in order.

    Attributes:
        class_names: Likewise.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = list(class_names)
        self._predictions: list[Values] = []
        self._targets: list[Values] = []

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: (outputs,) numbers each."""
        self._predictions += [prediction.detach().cpu().double().numpy() for prediction in predictions]
        self._targets += [target.detach().cpu().double().numpy() for target in targets]

    def state(self) -> tuple[list[list[float]], list[list[float]]]:
        """The numbers, as plain lists."""
        return [p.tolist() for p in self._predictions], [t.tolist() for t in self._targets]

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        predictions, targets = state
        self.add(
            [torch.tensor(p, dtype=torch.float64) for p in predictions],
            [torch.tensor(t, dtype=torch.float64) for t in targets],
        )

    @property
    def predictions(self) -> Values:
        """(images, outputs)."""
        return np.array(self._predictions).reshape(-1, len(self.class_names))

    @property
    def targets(self) -> Values:
        """(images, outputs)."""
        return np.array(self._targets).reshape(-1, len(self.class_names))

    def compute(self) -> dict[str, float]:
        """Metrics over all images, each the mean over the outputs, as scikit-learn's; NaN where it is not defined.

        Returns:
            r2: Coefficient of determination: 1 is perfect, and 0 is what the mean of the targets reaches. It is not
                defined where all targets are equal.
            mae: Mean absolute error.
            rmse: Root of the mean squared error.
        """
        return _means(self.predictions, self.targets)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals, by the bootstrap over images."""
        predictions, targets = self.predictions, self.targets
        return bootstrap_intervals(len(targets), lambda drawn: _means(predictions[drawn], targets[drawn]))

    def rows(self) -> list[dict[str, str | int | float]]:
        """A row for each of several outputs."""
        if len(self.class_names) < 2:
            return []
        columns = zip(*_metrics(self.predictions, self.targets).values(), strict=True)
        return [
            {"target": name, **dict(zip(NAMES, map(float, values), strict=True))}
            for name, values in zip(self.class_names, columns, strict=True)
        ]


def _means(predictions: Values, targets: Values) -> dict[str, float]:
    return {name: float(values.mean()) for name, values in _metrics(predictions, targets).items()}


def _metrics(predictions: Values, targets: Values) -> dict[str, Values]:
    """Each metric of each output, (outputs,)."""
    if not len(targets):
        return dict.fromkeys(NAMES, np.full(targets.shape[1], math.nan))
    squares = ((predictions - targets) ** 2).mean(0)
    variance = targets.var(0)
    r2 = 1 - np.divide(squares, variance, out=np.full_like(squares, math.nan), where=variance > 0)
    return {"r2": r2, "mae": np.abs(predictions - targets).mean(0), "rmse": np.sqrt(squares)}

"""How well hidden pixels are painted."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.tasks.bootstrap import bootstrap_intervals
from maxvit.tasks.masked.predictions import Painting

ERROR, RELATIVE = "reconstruction_error", "relative_error"


class MaskedMetric:
    """Keeps two numbers of every image."""

    def __init__(self) -> None:
        self._errors: list[tuple[float, float]] = []

    def add(self, predictions: Sequence[Painting], targets: Sequence[Any]) -> None:
        """Count images; there are no targets."""
        self._errors += [(one["error"], one["flat_error"]) for one in predictions]

    def state(self) -> list[tuple[float, float]]:
        """The errors."""
        return list(self._errors)

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        self._errors += state

    def compute(self) -> dict[str, float]:
        """Metrics over all images; NaN where there are none.

        Returns:
            reconstruction_error: Mean absolute error of hidden pixels, in levels from 0 to 255.
            relative_error: The same over that of one colour, the mean of what is visible: 1 is no better. It is not
                defined where that is 0.
        """
        return _metrics(np.array(sorted(self._errors)).reshape(-1, 2))  # a sum depends on its order

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals, by the bootstrap over images."""
        errors = np.array(sorted(self._errors)).reshape(-1, 2)
        return bootstrap_intervals(len(errors), lambda drawn: _metrics(errors[drawn]))

    def rows(self) -> list[dict[str, str | int | float]]:
        """None: there are no classes."""
        return []


def _metrics(errors: npt.NDArray[np.float64]) -> dict[str, float]:
    if not len(errors):
        return {ERROR: math.nan, RELATIVE: math.nan}
    error, flat = (float(mean) for mean in errors.mean(0))
    return {ERROR: error, RELATIVE: error / flat if flat else math.nan}

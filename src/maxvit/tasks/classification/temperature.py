"""What validation finds for a classifier: the temperature that makes its confidence what its accuracy bears out, and
the thresholds of prediction sets at that temperature.

Reference: Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2. As the temperature is known last,
the loss is summed over images, and the probability of each one's true class is kept, at each of a row of temperatures.
"""

from collections.abc import Sequence
from math import ceil, floor, log
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from maxvit.tasks.classification.conformal import find_thresholds
from maxvit.tasks.classification.counted import CountedMetric
from maxvit.tasks.classification.single_label import true_classes

TEMPERATURES = np.geomspace(1 / 8, 8, 25).tolist()
BOUND = 2.0  # times log(temperature)^2, added to the sum of the losses: few images hardly move it from 1
SMALLEST = torch.finfo(torch.float32).tiny  # probability, whose logarithm is finite


class CalibratedMetric(CountedMetric):
    """The same metrics, the temperature with the smallest loss, and the thresholds of prediction sets.

    Args:
        class_names: One per class.
        search: Whether the probabilities that are counted are at temperature 1 and another may be better.
    """

    def __init__(self, class_names: Sequence[str], search: bool = True) -> None:
        super().__init__(class_names)
        self.temperatures = TEMPERATURES if search else [1.0]
        self.losses = torch.zeros(len(self.temperatures), dtype=torch.float64)
        self.true: list[Tensor] = []  # logarithms of the probability of the true class, (temperatures, images) each

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes), and a class () or shares of classes (classes)."""
        super().add(predictions, targets)
        if not len(predictions):
            return
        labels = torch.stack(list(targets)).cpu()
        logits = torch.stack(list(predictions)).float().clamp(min=SMALLEST).log()
        losses = [cross_entropy(logits / temperature, labels, reduction="none") for temperature in self.temperatures]
        self.losses += torch.stack(losses).nan_to_num().double().sum(1)
        true = torch.as_tensor(true_classes(targets))[:, None]
        own = [(logits / temperature).log_softmax(1).gather(1, true)[:, 0] for temperature in self.temperatures]
        self.true.append(torch.stack(own).nan_to_num(nan=log(SMALLEST)))

    def state(self) -> tuple[Any, ...]:
        """The counts, and at each temperature the sum of the losses and the logarithms of the true classes."""
        return *super().state(), self.losses, self.true

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        *counts, losses, true = state
        super().merge(counts)
        self.losses = self.losses + losses
        self.true = self.true + true

    def compute(self) -> dict[str, float]:
        """The metrics, and where one was searched for "temperature"; NaN and 1 without images."""
        found = {} if len(self.temperatures) == 1 else {"temperature": best_temperature(self.losses)}
        return {**super().compute(), **found}

    def set_thresholds(self) -> tuple[float, ...]:
        """Those of prediction sets at the temperature that `compute` gives, see `conformal.find_thresholds`."""
        if not self.true:
            return ()
        own = torch.cat(self.true, 1).double().numpy()
        place = np.interp(log(self.compute().get("temperature", 1.0)), np.log(self.temperatures), range(len(own)))
        below, above = floor(place), ceil(place)
        return find_thresholds(np.exp(own[below] + (place - below) * (own[above] - own[below])))


def best_temperature(losses: Tensor) -> float:
    """The lowest point of the parabola through the lowest loss and its neighbours.

    Args:
        losses: (n,) float64, the sum over all images at each of `TEMPERATURES`.
    """
    logs = np.log(TEMPERATURES)
    bounded = losses.numpy() + BOUND * logs**2
    at = int(np.clip(bounded.argmin(), 1, len(logs) - 2))
    before, lowest, after = bounded[at - 1 : at + 2]
    bend = before - 2 * lowest + after
    shift = np.clip((before - after) / (2 * bend), -1, 1) if bend > 0 else 0.0
    return float(np.exp(logs[at] + shift * (logs[1] - logs[0])))

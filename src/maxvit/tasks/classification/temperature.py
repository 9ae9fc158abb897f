"""The temperature that makes a classifier's confidence what its accuracy bears out.

Reference: Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2. The loss is summed over images
at each of a row of temperatures, which needs no memory for the images and can be added up over processes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from maxvit.tasks.classification.counted import CountedMetric

TEMPERATURES = np.geomspace(1 / 8, 8, 25).tolist()
BOUND = 2.0  # times log(temperature)^2, added to the sum of the losses: few images hardly move it from 1
SMALLEST = torch.finfo(torch.float32).tiny  # probability, whose logarithm is finite


class CalibratedMetric(CountedMetric):
    """The same metrics, and the temperature with the smallest loss."""

    def __init__(self, class_names: Sequence[str]) -> None:
        super().__init__(class_names)
        self.losses = torch.zeros(len(TEMPERATURES), dtype=torch.float64)

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes) at temperature 1, and a class () or shares of classes (classes)."""
        super().add(predictions, targets)
        if not len(predictions):
            return
        labels = torch.stack(list(targets)).cpu()
        logits = torch.stack(list(predictions)).float().clamp(min=SMALLEST).log()
        losses = [cross_entropy(logits / temperature, labels, reduction="none") for temperature in TEMPERATURES]
        self.losses += torch.stack(losses).nan_to_num().double().sum(1)

    def state(self) -> tuple[Any, ...]:
        """The counts, and the sum of the losses at each temperature."""
        return *super().state(), self.losses

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        *counts, losses = state
        super().merge(counts)
        self.losses = self.losses + losses

    def compute(self) -> dict[str, float]:
        """The metrics and "temperature"; NaN and 1 without images."""
        return {**super().compute(), "temperature": best_temperature(self.losses)}


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

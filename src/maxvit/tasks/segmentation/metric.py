"""Mean intersection over union, pixel accuracy, and a row a class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.errors import require
from maxvit.tasks.bootstrap import bootstrap_intervals
from maxvit.tasks.segmentation.masks import IGNORED


class SegmentationMetric:
    """Metrics of predictions (h, w) and targets (h, w), of which 255 is ignored; all pixels count alike.

    Args:
        class_names: What an prediction can be.

    Attributes:
        counts: (K, K) int64, pixels of each true class (row) and each class that was predicted.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        require("segmentation", "torchmetrics")
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        self._count = multiclass_confusion_matrix
        self.class_names = list(class_names)
        self.counts = torch.zeros(len(class_names), len(class_names), dtype=torch.int64)
        self._images: list[Tensor] = []  # what `_pixels` says of each

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count some images, predictions and targets (h, w) uint8."""
        for prediction, truth in zip(predictions, targets, strict=True):
            found = self._count(
                prediction.long(), truth.long(), len(self.class_names), ignore_index=IGNORED, validate_args=False
            )
            self.merge((found.to(torch.int64), [_pixels(found)]))

    def state(self) -> tuple[Tensor, list[Tensor]]:
        """What was counted, of all images and of each."""
        return self.counts, self._images

    def merge(self, state: tuple[Tensor, list[Tensor]]) -> None:
        """Count what another process has counted."""
        self.counts = self.counts + state[0]
        self._images += state[1]

    def compute(self) -> dict[str, float]:
        """ "miou", "pixel_accuracy" and "mean_accuracy" (of the classes); a class that is nowhere does not count."""
        return _metrics(_pixels(self.counts))

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals, by the bootstrap over images."""
        if not self._images:
            return {}
        pixels = torch.stack(self._images).flatten(1)  # (images, 3 K)

        def measure(drawn: npt.NDArray[np.int64]) -> dict[str, float]:
            times = torch.bincount(torch.from_numpy(drawn), minlength=len(pixels)).double()
            return _metrics((times @ pixels).unflatten(0, (3, -1)))

        return bootstrap_intervals(len(pixels), measure)

    def rows(self) -> list[dict[str, str | int | float]]:
        """For each class that occurs: IoU, the share of its pixels that was found, and how many it has."""
        right, union, true = _pixels(self.counts)
        return [
            {
                "class": name,
                "iou": float(right[i] / union[i]),
                "accuracy": float(right[i] / true[i].clamp(min=1)),
                "pixels": int(true[i]),
            }
            for i, name in enumerate(self.class_names)
            if union[i] > 0
        ]


def _pixels(counts: Tensor) -> Tensor:
    """Pixels of each class, (3, K) float64: predicted and true, predicted or true, true."""
    right, true = counts.diagonal().double(), counts.sum(1).double()
    return torch.stack([right, true + counts.sum(0) - right, true])


def _metrics(pixels: Tensor) -> dict[str, float]:
    """From `_pixels`, of any images."""
    right, union, true = pixels
    accuracy = float(right.sum() / true.sum())
    return {"miou": _mean(right, union), "pixel_accuracy": accuracy, "mean_accuracy": _mean(right, true)}


def _mean(part: Tensor, whole: Tensor) -> float:
    """The mean of part / whole, where there is a whole; not a number if there is none."""
    there = whole > 0
    return float((part[there] / whole[there]).mean()) if there.any() else float("nan")

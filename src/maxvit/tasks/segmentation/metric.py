"""Mean intersection over union, pixel accuracy, and a row a class."""

from collections.abc import Sequence

import torch
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.masks import IGNORED


class SegmentationMetric:
    """Metrics of predictions (h, w) and targets (h, w), of which 255 is ignored; all pixels count alike.

    Args:
        class_names: What an prediction can be.

    Attributes:
        counts: (K, K) int64, pixels of each true class (row) and each class that was predicted.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        try:
            from torchmetrics.functional.classification import multiclass_confusion_matrix
        except ImportError as error:
            raise MaxViTError(f"segmentation needs {error.name}: pip install 'maxvit[segmentation]'") from error
        self._count = multiclass_confusion_matrix
        self.class_names = list(class_names)
        self.counts = torch.zeros(len(class_names), len(class_names), dtype=torch.int64)

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count some images, predictions and targets (h, w) uint8."""
        for prediction, truth in zip(predictions, targets, strict=True):
            found = self._count(
                prediction.long(), truth.long(), len(self.class_names), ignore_index=IGNORED, validate_args=False
            )
            self.counts += found.to(torch.int64)

    def state(self) -> Tensor:
        """What was counted."""
        return self.counts

    def merge(self, state: Tensor) -> None:
        """Count what another process has counted."""
        self.counts = self.counts + state

    def compute(self) -> dict[str, float]:
        """ "miou", "pixel_accuracy" and "mean_accuracy" (of the classes); a class that is nowhere does not count."""
        right, union, true = self._pixels()
        return {
            "miou": _mean(right, union),
            "pixel_accuracy": float(right.sum() / self.counts.sum()),
            "mean_accuracy": _mean(right, true),
        }

    def rows(self) -> list[dict[str, str | int | float]]:
        """Of each class that is somewhere its IoU, the share of its pixels that was found, and how many it has."""
        right, union, true = self._pixels()
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

    def _pixels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each class, (K,) float64: predicted and true, predicted or true, true."""
        right, true = self.counts.diagonal().double(), self.counts.sum(1).double()
        return right, true + self.counts.sum(0) - right, true


def _mean(part: Tensor, whole: Tensor) -> float:
    """Of part / whole, where there is a whole; not a number if there is none."""
    there = whole > 0
    return float((part[there] / whole[there]).mean()) if there.any() else float("nan")

"""The probabilities and labels of every image, which may come in parts."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Parts = list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]


class Recorded:
    """What a metric of probabilities and labels remembers.

    Args:
        class_names: One per class.
        no_labels: The labels of no images, with the shape and type of others.
    """

    def __init__(self, class_names: Sequence[str], no_labels: npt.NDArray[Any]) -> None:
        self.class_names = list(class_names)
        self._parts: Parts = [(np.zeros((0, len(self.class_names)), np.float32), no_labels)]

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """(n, classes)."""
        return self._joined()[0]

    @property
    def labels(self) -> npt.NDArray[Any]:
        """(n, ...)."""
        return self._joined()[1]

    def _joined(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        if len(self._parts) > 1:
            probabilities, labels = zip(*self._parts, strict=True)
            self._parts = [(np.concatenate(probabilities), np.concatenate(labels))]
        return self._parts[0]

    def state(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The probabilities and labels."""
        return self._joined()

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        self._parts.append(state)

    def with_images(self, labels: npt.NDArray[Any], probabilities: npt.NDArray[Any]) -> Self:
        """The same metric with these images counted too."""
        self.merge((probabilities, labels))
        return self


def as_array(predictions: Sequence[Tensor]) -> npt.NDArray[np.float32]:
    """(n, classes) of n tensors (classes)."""
    return torch.stack(list(predictions)).float().cpu().numpy()

"""What tasks share whose target is some numbers for the image as a whole, in whatever place they are seen."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from maxvit.config import Preprocessing, Size
from maxvit.data.images import ImageLike, Source
from maxvit.data.transforms import normalise, preprocess
from maxvit.tasks.pieces import random_piece
from maxvit.tasks.task import Task


class _Pieces(Protocol):
    """What the settings of such a task have; for the arguments see `random_piece`."""

    crop_area: tuple[float, float]
    flip: bool


class ImageNumbers(Task):
    """A task whose labels, targets and predictions are rows of numbers, one row for an image."""

    def augment(self, spec: Preprocessing, source: Source, label: Any) -> tuple[Tensor, Tensor]:
        """A large piece of the image, distorted only if evaluation squeezes images too, and perhaps mirrored."""
        settings = cast(_Pieces, self.settings)
        piece = random_piece(source, spec, settings.crop_area, settings.flip)
        return normalise(spec, np.asarray(piece)), self.target(label, spec.image_size)

    def prepare(self, spec: Preprocessing, image: ImageLike) -> Tensor:
        """As a classifier's: no prediction has a place, so with fit "aspect" a little is cut off, and not distorted."""
        return preprocess(spec, image)

    def target(self, label: Any, size: Size) -> Tensor:
        """The numbers, whatever the size."""
        return torch.tensor(label, dtype=torch.float32)

    def mean(self, predictions: Sequence[Tensor]) -> Tensor:
        """The mean of the numbers."""
        return torch.stack(list(predictions)).mean(0)

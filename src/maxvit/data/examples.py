"""Images with their truth, as a network takes them; what the loaders put into batches."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from maxvit.config import Preprocessing, Size
from maxvit.data.augmentation import Augmentation, training_transform
from maxvit.data.bucketing import find_buckets
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import normalise, preprocess


class Examples(Protocol):
    """A data set as a loader wants it.

    Attributes:
        names: What to call each image in messages.
        shards: Which file each image lies in; None: each is a file of its own.
    """

    names: Sequence[str]
    shards: Sequence[int] | None

    def sizes(self, training: bool) -> list[Size]:
        """The size that each image will have; a batch holds images of one size."""
        ...

    def training(self, index: int) -> tuple[Tensor, Any]:
        """An augmented image (C, H, W) and its truth, by PyTorch's random numbers.

        Raises:
            MaxViTError: If it cannot be read.
        """
        ...

    def evaluation(self, index: int) -> tuple[Tensor, Any]:
        """An image as it is judged, and its truth. Raises `MaxViTError` if it cannot be read."""
        ...

    def together(self, targets: Sequence[Any], training: bool) -> Any:
        """The targets of a batch; its length is their number."""
        ...


class LabelledExamples:
    """Images and their classes.

    Args:
        images: Which.
        spec: How they are preprocessed.
        augmentation: In training, see `training_transform`; None: they are for evaluation alone.
        rand_augment: As there.
    """

    def __init__(
        self,
        images: LabelledImages,
        spec: Preprocessing,
        augmentation: Augmentation | None = None,
        rand_augment: tuple[int, int] = (2, 15),
    ) -> None:
        self.images, self.spec = images, spec
        self.names, self.shards = images.names, images.shards
        self.labels = torch.as_tensor(np.asarray(images.labels))
        if augmentation is not None:
            self.buckets = find_buckets(spec, images.sources)
            self.augment = {
                size: training_transform(size, augmentation, rand_augment, spec) for size in set(self.buckets)
            }

    def sizes(self, training: bool) -> list[Size]:
        """See `Examples`."""
        return self.buckets if training else find_buckets(self.spec, self.images.sources)

    def training(self, index: int) -> tuple[Tensor, Tensor]:
        """See `Examples`."""
        picture = self.augment[self.buckets[index]](self.images.sources[index])
        return normalise(self.spec, picture.permute(1, 2, 0).numpy()), self.labels[index]

    def evaluation(self, index: int) -> tuple[Tensor, Tensor]:
        """See `Examples`."""
        return preprocess(self.spec, self.images.sources[index]), self.labels[index]

    def together(self, targets: Sequence[Tensor], training: bool) -> Tensor:
        """(B,) int64, or (B, classes) float32."""
        return torch.stack(list(targets)) if targets else self.labels[:0]

"""What a loader takes: a data set whose items are tensors, with their labels."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from maxvit.config import Size


class Examples(Protocol):
    """A data set as a loader wants it. `maxvit.tasks.examples.TaskExamples` is one.

    Attributes:
        names: What to call each image in messages.
        shards: The file that holds each image; None: each is a file of its own.
    """

    names: Sequence[str]
    shards: Sequence[int] | None

    def sizes(self, training: bool) -> list[Size]:
        """The size that each image will have; a batch holds images of one size."""
        ...

    def training(self, index: int) -> tuple[Tensor, Any]:
        """An augmented image (C, H, W) and its target, by PyTorch's random numbers.

        Raises:
            MaxViTError: If it cannot be read.
        """
        ...

    def evaluation(self, index: int) -> tuple[Tensor, Size, Any]:
        """An image prepared for evaluation, its size as decoded, and its target.

        Raises:
            MaxViTError: If it cannot be read.
        """
        ...

    def collate(self, targets: Sequence[Any]) -> Any:
        """The targets of a training batch; its length is their number."""
        ...

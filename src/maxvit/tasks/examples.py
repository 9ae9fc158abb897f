"""The images of a task as a loader takes them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from maxvit.config import Preprocessing, Size
from maxvit.data.annotated import AnnotatedImages
from maxvit.data.images import read_size
from maxvit.errors import MaxViTError
from maxvit.tasks.task import Target, Task


class TaskExamples:
    """See `maxvit.data.examples.Examples`. For evaluation a truth is (size as decoded, truth).

    Args:
        task: What is learnt.
        images: From what.
        spec: What the network expects of an image.
    """

    shards: Sequence[int] | None = None

    def __init__(self, task: Task, images: AnnotatedImages, spec: Preprocessing) -> None:
        self.task, self.images, self.spec, self.names = task, images, spec, images.names

    def sizes(self, training: bool) -> list[Size]:
        """In training all are of one size."""
        if training:
            return [self.spec.image_size] * len(self.images)
        return [self._size(index) for index in range(len(self.images))]

    def _size(self, index: int) -> Size:
        try:
            return self.task.prepared_size(self.spec, read_size(self.images.sources[index]))
        except MaxViTError:
            return self.spec.image_size  # it is reported when its turn comes

    def training(self, index: int) -> tuple[Tensor, Target]:
        """An augmented image and its truth."""
        return self.task.augment(self.spec, self.images.sources[index], self.images.annotations[index])

    def evaluation(self, index: int) -> tuple[Tensor, tuple[Size, Target]]:
        """A prepared image, its size as decoded, and its truth."""
        source = self.images.sources[index]
        prepared, size = self.task.prepare(self.spec, source), read_size(source)
        return prepared, (size, self.task.target(self.images.annotations[index], size))

    def together(self, targets: Sequence[Any], training: bool) -> Any:
        """What `Task.collate` makes of them; for evaluation the list."""
        return self.task.collate(targets) if training and targets else list(targets)

"""The images of a task as a loader takes them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from maxvit.config import Preprocessing, Size
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import read_size
from maxvit.errors import MaxViTError
from maxvit.tasks.task import Target, Task


class TaskExamples:
    """See `maxvit.data.loading.Examples`.

    Args:
        task: What is learnt.
        images: From what.
        spec: What the network expects of an image.
        labelled: Whether there are targets; else they are None.
    """

    def __init__(self, task: Task, images: LabelledImages, spec: Preprocessing, labelled: bool = True) -> None:
        self.task, self.images, self.spec, self.labelled = task, images, spec, labelled
        self.names, self.shards = images.names, images.shards
        self._augmented_sizes: list[Size] = []

    def sizes(self, training: bool) -> list[Size]:
        """Headers of files are read only where images keep their shapes."""
        everything = range(len(self.images))
        if training:
            self._augmented_sizes = self._augmented_sizes or self._sizes(everything, self.task.augmented_size)
            return self._augmented_sizes
        return self.prepared_sizes(everything)

    def prepared_sizes(self, indices: range) -> list[Size]:
        """The same of some images, as evaluation and prediction prepare them."""
        return self._sizes(indices, self.task.prepared_size)

    def _sizes(self, indices: range, resize: Callable[[Preprocessing, Size], Size]) -> list[Size]:
        if self.spec.fit != "aspect":
            return [self.spec.image_size] * len(indices)
        found = []
        for index in indices:
            try:
                found.append(resize(self.spec, read_size(self.images.sources[index])))
            except MaxViTError:
                found.append(self.spec.image_size)  # it is reported when its turn comes
        return found

    def training(self, index: int) -> tuple[Tensor, Target]:
        """An augmented image and its target."""
        spec = self.spec
        if spec.fit == "aspect":
            spec = replace(spec, image_size=self.sizes(training=True)[index])
        return self.task.augment(spec, self.images.sources[index], self.images.labels[index])

    def evaluation(self, index: int) -> tuple[Tensor, Size, Target]:
        """A prepared image, its size as decoded, and its target."""
        source = self.images.sources[index]
        prepared, size = self.task.prepare(self.spec, source), read_size(source)
        return prepared, size, self.task.target(self.images.labels[index], size) if self.labelled else None

    def collate(self, targets: Sequence[Target]) -> Any:
        """What `Task.collate` makes of them."""
        return self.task.collate(targets) if targets else []

"""The images of a task as a loader takes them."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from maxvit.config import Preprocessing, Size
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import ImageLike, Source, read_size
from maxvit.data.kept import Kept, Memory, once
from maxvit.errors import MaxViTError
from maxvit.tasks.protocols import Target
from maxvit.tasks.task import Task


class TaskExamples:
    """See `maxvit.data.loading.Examples`.

    Args:
        task: What is learnt.
        images: From what.
        spec: What the network expects of an image.
        labelled: Whether there are targets; else they are None.
        others: In evaluation, what other networks expect of the same image.
        keep: Bytes for what is the same each time that an image is asked for: it is computed once. 0: nothing is kept.
            Each process that reads has a memory of its own.
    """

    def __init__(
        self,
        task: Task,
        images: LabelledImages,
        spec: Preprocessing,
        labelled: bool = True,
        others: Sequence[Preprocessing] = (),
        keep: int = 0,
    ) -> None:
        self.task, self.images, self.spec, self.labelled, self.others = task, images, spec, labelled, others
        self._memory = Memory(keep)
        self.names, self.shards = images.names, images.shards
        self._augmented_sizes: list[Size] = []

    def sizes(self, training: bool) -> Sequence[Hashable]:
        """Headers of files are read only where images keep their shapes."""
        return self._training_sizes() if training else self.prepared_sizes(range(len(self.images)))

    def prepared_sizes(self, indices: range) -> Sequence[Hashable]:
        """The same of some images, as evaluation and prediction prepare them."""
        each = [self._sizes(indices, self.task.prepared_size, spec) for spec in (self.spec, *self.others)]
        return list(zip(*each, strict=True)) if self.others else each[0]

    def _training_sizes(self) -> list[Size]:
        if not self._augmented_sizes:
            everything = range(len(self.images))
            self._augmented_sizes = self._sizes(everything, self.task.augmented_size, self.spec)
        return self._augmented_sizes

    def _sizes(self, indices: range, resize: Callable[[Preprocessing, Size], Size], spec: Preprocessing) -> list[Size]:
        if spec.fit != "aspect":
            return [spec.image_size] * len(indices)
        found = []
        for index in indices:
            try:
                found.append(resize(spec, read_size(self.images.sources[index])))
            except MaxViTError:
                found.append(spec.image_size)  # it is reported when its turn comes
        return found

    def training(self, index: int) -> tuple[Tensor, Target]:
        """An augmented image and its target."""
        spec = self.spec
        if spec.fit == "aspect":
            spec = replace(spec, image_size=self._training_sizes()[index])
        return self.task.augment(spec, self._source(index), self.images.labels[index])

    def evaluation(self, index: int) -> tuple[list[Tensor], Size, Target]:
        """An image as each network expects it, its size as decoded, and its target."""
        return once(self._source(index), "evaluation", lambda stored: self._evaluation(stored, index))

    def _source(self, index: int) -> Source:
        sources = self.images.sources
        return Kept(sources, index, self._memory) if self._memory.limit else sources[index]

    def _evaluation(self, source: ImageLike, index: int) -> tuple[list[Tensor], Size, Target]:
        prepared, size = [self.task.prepare(spec, source) for spec in (self.spec, *self.others)], read_size(source)
        return prepared, size, self.task.target(self.images.labels[index], size) if self.labelled else None

    def collate(self, targets: Sequence[Target]) -> Any:
        """What `Task.collate` makes of them."""
        return self.task.collate(targets) if targets else []

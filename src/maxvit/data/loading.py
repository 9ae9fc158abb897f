"""Batches of images and their targets, the same for the same seed whatever the number of workers."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maxvit.config import Size
from maxvit.data.sampling import EvaluationBatches, Share, Step, TrainingBatches, part_batches
from maxvit.data.workers import bounded, prepare_worker
from maxvit.errors import MaxViTError

ATTEMPTS = 10  # to find an image in place of one that cannot be read


class EvaluationExamples(Protocol):
    """A data set as a loader wants it that only evaluates.

    Attributes:
        names: What to call each image in messages.
    """

    names: Sequence[str]

    def sizes(self, training: bool) -> Sequence[Hashable]:
        """The size that each image will have, or its sizes; a batch holds images of which they are the same."""
        ...

    def evaluation(self, index: int) -> tuple[Sequence[Tensor], Size, Any]:
        """An image prepared for evaluation, its size as decoded, and its target.

        It is one tensor, or one for each way in which networks that predict together want it.

        Raises:
            MaxViTError: If it cannot be read.
        """
        ...


class Examples(EvaluationExamples, Protocol):
    """A data set that is also trained on. `maxvit.tasks.examples.TaskExamples` is one.

    Attributes:
        shards: The file that holds each image; None: each is a file of its own.
    """

    shards: Sequence[int] | None

    def training(self, index: int) -> tuple[Tensor, Any]:
        """An augmented image (C, H, W) and its target, by PyTorch's random numbers.

        Raises:
            MaxViTError: If it cannot be read.
        """
        ...

    def collate(self, targets: Sequence[Any]) -> Any:
        """The targets of a training batch; its length is their number."""
        ...


class Batch(NamedTuple):
    """Images that travel together.

    Attributes:
        images: (B, C, H, W) float32.
        targets: In training, what `Examples.collate` gives; in evaluation a target for each image, (B, ...) where they
            are tensors of one shape.
        indices: (B,) int64, of each image in its data set.
        skipped: A sentence for each image that could not be read, and is not in the batch.
        weight: Weight of the mean over these images in the mean over a training batch, see `Step`.
        skipped_indices: Index of each image in `skipped`, in its data set.
        sizes: In evaluation, of each image as it was decoded.
        others: In evaluation, the same images prepared in other ways, (B, C, H, W) each: see
            `EvaluationExamples.evaluation`.
    """

    images: Tensor
    targets: Any
    indices: Tensor
    skipped: list[str]
    weight: float = 1.0
    skipped_indices: Sequence[int] = ()
    sizes: Sequence[Size] = ()
    others: Sequence[Tensor] = ()


class _Images(Dataset[Batch]):
    """What both kinds of batches share: item `keys` is a batch, all of one size."""

    def __init__(self, examples: EvaluationExamples) -> None:
        self.examples = examples

    def _sentence(self, index: int, error: MaxViTError) -> str:
        """What is wrong with which image: of one without a path, the error does not say which."""
        name, text = self.examples.names[index], str(error)
        return text if name in text else f"{name}: {text}"


class _EvaluationImages(_Images):
    @bounded()
    def __getitem__(self, keys: list[int]) -> Batch:
        prepared, sizes, targets, indices, broken = [], [], [], [], {}
        for index in keys:
            try:
                tensors, size, target = self.examples.evaluation(index)
            except MaxViTError as error:
                broken[index] = self._sentence(index, error)
                continue
            prepared.append(tensors)
            sizes.append(size)
            targets.append(target)
            indices.append(index)
        first, *others = list(zip(*prepared, strict=True)) or [()]
        batch = _batch(first, _stacked(targets), indices, broken)
        return batch._replace(sizes=sizes, others=[torch.stack(tensors) for tensors in others])


class _TrainingImages(_Images):
    """An image that cannot be read gives its place to another of its size, so that batches keep their sizes."""

    examples: Examples

    def __init__(self, examples: Examples, sizes: Sequence[Hashable]) -> None:
        super().__init__(examples)
        self.sizes = sizes

    @bounded()
    def __getitem__(self, step: Step) -> Batch:
        found, indices, broken = [], [], {}
        with torch.random.fork_rng(devices=[]):
            for first, seed in step.keys:
                for index in self._candidates(first, seed):
                    torch.default_generator.manual_seed(seed)  # torch.manual_seed notes the stack each time, for GPUs
                    try:
                        found.append(self.examples.training(index))
                        indices.append(index)
                        break
                    except MaxViTError as error:
                        broken[index] = self._sentence(index, error)
        if len(found) == 1:
            found, indices = found * 2, indices * 2  # batch norm needs two values
        targets = self.examples.collate([target for _, target in found])
        return _batch([tensor for tensor, _ in found], targets, indices, broken, step.weight)

    def _candidates(self, first: int, seed: int) -> Iterator[int]:
        """The image, and should it be unreadable, others of its size."""
        yield first
        others = np.random.default_rng(seed)
        for _ in range(1, ATTEMPTS):
            index = int(others.integers(len(self.sizes)))
            if self.sizes[index] == self.sizes[first]:
                yield index


def _stacked(targets: list[Any]) -> Any:
    """One tensor where that can be: many small ones take long from process to process."""
    if targets and all(isinstance(t, Tensor) and t.shape == targets[0].shape for t in targets):
        return torch.stack(targets)
    return targets


def _batch(
    tensors: Sequence[Tensor], targets: Any, indices: list[int], broken: dict[int, str], weight: float = 1.0
) -> Batch:
    images = torch.stack(list(tensors)) if tensors else torch.empty(0)
    places = torch.tensor(indices, dtype=torch.int64)
    return Batch(images, targets, places, list(broken.values()), weight, list(broken))


def training_batches(
    examples: Examples, batch_size: int, workers: int, seed: int, share: Share | None = None
) -> DataLoader[Batch]:
    """Shuffled, augmented batches, each of images of one size; see `TrainingBatches`."""
    sizes = examples.sizes(training=True)
    sampler = TrainingBatches(sizes, batch_size, seed, share, examples.shards)
    return _loader(_TrainingImages(examples, sizes), sampler, workers, persistent=True)


def evaluation_batches(
    examples: EvaluationExamples, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Every image once over all processes, in batches of one size; `Batch.indices` says which is where."""
    sampler = EvaluationBatches(examples.sizes(training=False), batch_size, rank, world)
    return _loader(_EvaluationImages(examples), sampler, workers, persistent=True)


def part_batches_of(
    examples: EvaluationExamples,
    sizes: Callable[[range], Sequence[Hashable]],
    batch_size: int,
    workers: int,
    parts: Iterable[range],
) -> DataLoader[Batch]:
    """Every image of some parts of a data set, part by part; a batch is of one part and of one size.

    A part is asked for when the batches of the one before are on their way, `workers` processes reading ahead.
    """
    return _loader(_EvaluationImages(examples), part_batches(parts, sizes, batch_size), workers)


def _loader(images: _Images, sampler: Iterable[Any], workers: int, persistent: bool = False) -> DataLoader[Batch]:
    return DataLoader(
        images,
        batch_size=None,  # an item is a batch already
        sampler=sampler,
        num_workers=workers,
        persistent_workers=persistent and workers > 0,
        worker_init_fn=prepare_worker,
        pin_memory=torch.cuda.is_available(),
    )

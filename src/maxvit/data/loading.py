"""Batches of images and their truth, the same for the same seed whatever the number of workers."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maxvit.config import Preprocessing, Size
from maxvit.data.augmentation import Augmentation
from maxvit.data.bucketing import find_buckets
from maxvit.data.dataset import LabelledImages, Picked
from maxvit.data.examples import Examples, LabelledExamples
from maxvit.data.sampling import EvaluationBatches, Share, Step, TrainingBatches, part_batches
from maxvit.data.workers import bounded, prepare_worker
from maxvit.errors import MaxViTError

ATTEMPTS = 10  # to find an image in place of one that cannot be read


class Batch(NamedTuple):
    """Images that travel together.

    Attributes:
        images: (B, C, H, W) float32.
        labels: The truth of each, as `Examples.together` gives it: (B,) int64; or (B, classes) float32, a share or 0
            and 1 for each class; of other tasks what `Task.collate` makes, and for evaluation a list.
        indices: (B,) int64, of each image in its data set.
        skipped: A sentence for each image that could not be read, and is not in the batch.
        weight: Of the mean over these images in the mean over a training batch, see `Step`.
        skipped_indices: Of each image in `skipped`, in its data set.
    """

    images: Tensor
    labels: Any
    indices: Tensor
    skipped: list[str]
    weight: float = 1.0
    skipped_indices: Sequence[int] = ()


class _Images(Dataset[Batch]):
    """What both kinds of batches share: item `keys` is a batch, all of one size."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples

    def _sentence(self, index: int, error: MaxViTError) -> str:
        """What is wrong with which image: of one without a path, the error does not say which."""
        name, text = self.examples.names[index], str(error)
        return text if name in text else f"{name}: {text}"


class _EvaluationImages(_Images):
    @bounded()
    def __getitem__(self, keys: list[int]) -> Batch:
        tensors, targets, indices, broken = [], [], [], {}
        for index in keys:
            try:
                tensor, truth = self.examples.evaluation(index)
            except MaxViTError as error:
                broken[index] = self._sentence(index, error)
                continue
            tensors.append(tensor)
            targets.append(truth)
            indices.append(index)
        return _batch(tensors, self.examples.together(targets, training=False), indices, broken)


class _TrainingImages(_Images):
    """An image that cannot be read gives its place to another of its size, so that batches keep their sizes."""

    def __init__(self, examples: Examples, sizes: Sequence[Size]) -> None:
        super().__init__(examples)
        self.sizes = sizes

    @bounded()
    def __getitem__(self, step: Step) -> Batch:
        found, indices, broken = [], [], {}
        for first, seed in step.keys:
            others = np.random.default_rng(seed)
            for attempt in range(ATTEMPTS):
                index = first if attempt == 0 else int(others.integers(len(self.sizes)))
                if self.sizes[index] != self.sizes[first]:
                    continue
                try:
                    found.append(self._read(index, seed))
                    indices.append(index)
                    break
                except MaxViTError as error:
                    broken[index] = self._sentence(index, error)
        if len(found) == 1:
            found, indices = found * 2, indices * 2  # batch norm needs two values
        targets = self.examples.together([truth for _, truth in found], training=True)
        return _batch([tensor for tensor, _ in found], targets, indices, broken, step.weight)

    def _read(self, index: int, seed: int) -> tuple[Tensor, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.examples.training(index)


def _batch(
    tensors: list[Tensor], targets: Any, indices: list[int], broken: dict[int, str], weight: float = 1.0
) -> Batch:
    images = torch.stack(tensors) if tensors else torch.empty(0)
    places = torch.tensor(indices, dtype=torch.int64)
    return Batch(images, targets, places, list(broken.values()), weight, list(broken))


def training_batches(
    examples: Examples, batch_size: int, workers: int, seed: int, share: Share | None = None
) -> DataLoader[Batch]:
    """Shuffled, augmented batches, each of images of one size; see `TrainingBatches`."""
    sizes = examples.sizes(training=True)
    return DataLoader(
        _TrainingImages(examples, sizes),
        batch_size=None,  # an item is a batch already
        sampler=TrainingBatches(sizes, batch_size, seed, share, examples.shards),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=prepare_worker,
        pin_memory=torch.cuda.is_available(),
    )


def evaluation_batches(
    examples: Examples, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """Every image once over all processes, in batches of one size; `Batch.indices` says which is where."""
    return DataLoader(
        _EvaluationImages(examples),
        batch_size=None,
        sampler=EvaluationBatches(examples.sizes(training=False), batch_size, rank, world),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=prepare_worker,
        pin_memory=torch.cuda.is_available(),
    )


def training_loader(
    images: LabelledImages,
    spec: Preprocessing,
    augmentation: Augmentation,
    batch_size: int,
    workers: int,
    seed: int,
    share: Share | None = None,
    rand_augment: tuple[int, int] = (2, 15),
) -> DataLoader[Batch]:
    """`training_batches` of images and their classes."""
    return training_batches(
        LabelledExamples(images, spec, augmentation, rand_augment), batch_size, workers, seed, share
    )


def evaluation_loader(
    images: LabelledImages, spec: Preprocessing, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> DataLoader[Batch]:
    """`evaluation_batches` of images and their classes."""
    return evaluation_batches(LabelledExamples(images, spec), batch_size, workers, rank, world)


def part_loader(
    images: LabelledImages, spec: Preprocessing, batch_size: int, workers: int, parts: Iterable[range]
) -> DataLoader[Batch]:
    """Every image of some parts of a data set, part by part; a batch is of one part and of one size.

    A part is asked for when the batches of the one before are on their way, `workers` processes reading ahead.
    """
    return DataLoader(
        _EvaluationImages(LabelledExamples(images, spec)),
        batch_size=None,
        sampler=part_batches(parts, lambda part: find_buckets(spec, Picked(images.sources, part)), batch_size),
        num_workers=workers,
        worker_init_fn=prepare_worker,
        pin_memory=torch.cuda.is_available(),
    )

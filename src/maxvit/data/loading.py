"""Batches of labelled images, the same for the same seed whatever the number of workers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maxvit.config import Preprocessing, Size
from maxvit.data.augmentation import Augmentation, training_transform
from maxvit.data.bucketing import EvaluationBatches, TrainingBatches, find_buckets
from maxvit.data.labelled import LabelledImages
from maxvit.data.transforms import normalise, preprocess
from maxvit.errors import MaxViTError


class Batch(NamedTuple):
    """Images that travel together.

    Attributes:
        images: (B, C, H, W) float32.
        labels: (B,) int64.
        indices: (B,) int64, of each image in its data set.
        skipped: A sentence for each image that could not be read, and is not in the batch.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    skipped: list[str]


Key = int | tuple[int, int]  # an image's position, or that and the seed of its augmentation


class _Batches(Dataset[Batch]):
    """Item [key, ...] is the batch of these images, all of one bucket."""

    def __init__(
        self, images: LabelledImages, spec: Preprocessing, buckets: Sequence[Size], augmentation: Augmentation | None
    ) -> None:
        self.images, self.spec, self.buckets = images, spec, buckets
        self.augment = {size: training_transform(size, augmentation) for size in set(buckets)} if augmentation else {}

    def __getitem__(self, keys: list[Key]) -> Batch:
        tensors, indices, skipped = [], [], []
        for key in keys:
            index, seed = key if isinstance(key, tuple) else (key, 0)
            try:
                tensors.append(self._read(index, seed))
                indices.append(index)
            except MaxViTError as error:
                skipped.append(str(error))
        labels = torch.tensor([self.images.labels[i] for i in indices], dtype=torch.int64)
        images = torch.stack(tensors) if tensors else torch.empty(0)
        return Batch(images, labels, torch.tensor(indices, dtype=torch.int64), skipped)

    def _read(self, index: int, seed: int) -> Tensor:
        source = self.images.sources[index]
        if not self.augment:
            return preprocess(self.spec, source)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return normalise(self.spec, np.asarray(self.augment[self.buckets[index]](source)))


def training_loader(
    images: LabelledImages,
    spec: Preprocessing,
    augmentation: Augmentation,
    batch_size: int,
    workers: int,
    seed: int,
) -> DataLoader[Batch]:
    """Shuffled, augmented batches, each of images of one size; see `TrainingBatches`."""
    buckets = find_buckets(spec, images.sources)
    return DataLoader(
        _Batches(images, spec, buckets, augmentation),
        batch_size=None,  # an item is a batch already
        sampler=TrainingBatches(buckets, batch_size, seed),
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def evaluation_loader(
    images: LabelledImages, spec: Preprocessing, batch_size: int, workers: int = 0
) -> DataLoader[Batch]:
    """Every image once, in batches of one size; `Batch.indices` says which is where."""
    buckets = find_buckets(spec, images.sources)
    return DataLoader(
        _Batches(images, spec, buckets, None),
        batch_size=None,
        sampler=EvaluationBatches(buckets, batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
    )

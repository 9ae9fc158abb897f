"""Batches of labelled images, the same for the same seed whatever the number of workers."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from maxvit.config import Preprocessing
from maxvit.data.images import decode
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


class _Sample(NamedTuple):
    image: Tensor
    label: int
    position: int  # in its data set


class _Images(Dataset[_Sample | str]):
    """Item (index, seed) is a sample, or a sentence that says why it cannot be read. No augmentation: no seed."""

    def __init__(self, images: LabelledImages, spec: Preprocessing, augment: nn.Module | None) -> None:
        self.images, self.spec, self.augment = images, spec, augment

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> _Sample | str:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        source = self.images.sources[index]
        try:
            if self.augment is None:
                image = preprocess(self.spec, source)
            else:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    image = normalise(self.spec, np.asarray(self.augment(decode(source))))
        except MaxViTError as error:
            return str(error)
        return _Sample(image, self.images.labels[index], index)


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order and new augmentation seeds each epoch, both functions of (seed, epoch) alone.

    So a run that stopped continues exactly as if it had not.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length, self.seed, self.epoch = length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order, seeds = random.permutation(self.length), random.integers(2**63, size=self.length)
        return iter([(int(i), int(s)) for i, s in zip(order, seeds, strict=True)])


def _collate(items: Sequence[_Sample | str]) -> Batch:
    samples = [item for item in items if isinstance(item, _Sample)]
    images = torch.stack([s.image for s in samples]) if samples else torch.empty(0)
    labels, indices = torch.tensor([s.label for s in samples]), torch.tensor([s.position for s in samples])
    return Batch(images, labels.long(), indices.long(), [item for item in items if isinstance(item, str)])


def training_loader(
    images: LabelledImages, spec: Preprocessing, augment: nn.Module, batch_size: int, workers: int, seed: int
) -> DataLoader[Batch]:
    """Shuffled, augmented batches of exactly `batch_size` (all images, if there are fewer); the rest is left out."""
    return DataLoader(
        _Images(images, spec, augment),  # type: ignore[arg-type]
        batch_size=min(batch_size, len(images)),
        sampler=EpochSampler(len(images), seed),
        num_workers=workers,
        collate_fn=_collate,
        drop_last=True,
        persistent_workers=workers > 0,
    )


def evaluation_loader(
    images: LabelledImages, spec: Preprocessing, batch_size: int, workers: int = 0
) -> DataLoader[Batch]:
    """Every image once, in order."""
    return DataLoader(
        _Images(images, spec, None),  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=_collate,
        persistent_workers=workers > 0,
    )

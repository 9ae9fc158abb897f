"""Images of one size travel together: batches by bucket, and never padded.

Padding images to a common size would change grid attention, which spreads over the whole map.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from maxvit.config import Preprocessing, Size
from maxvit.data.images import ImageLike, read_size
from maxvit.data.transforms import target_size
from maxvit.errors import MaxViTError


def find_buckets(spec: Preprocessing, sources: Sequence[ImageLike]) -> list[Size]:
    """The size that each image will have; of files only the header is read. One that cannot be read gets any."""
    if spec.fit != "aspect":
        return [spec.image_size] * len(sources)
    return [_bucket(spec, source) for source in sources]


def _bucket(spec: Preprocessing, source: ImageLike) -> Size:
    try:
        return target_size(spec, read_size(source))
    except MaxViTError:
        return spec.image_size  # it is reported when its turn comes


class TrainingBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (index, augmentation seed), each of one bucket; a new order each epoch.

    Order and seeds are functions of (seed, epoch) alone, so a run that stopped continues exactly as if it had not.
    Each bucket gives whole batches, and what is left over differs each epoch; one that is smaller than a batch gives
    all it has.

    Args:
        buckets: Of each image.
        batch_size: Images in a batch.
        seed: Of the order.
    """

    def __init__(self, buckets: Sequence[Size], batch_size: int, seed: int) -> None:
        self.buckets = _numbered(buckets)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the training loop before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return sum(max(1, int(n) // self.batch_size) for n in np.bincount(self.buckets))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order, seeds = random.permutation(len(self.buckets)), random.integers(2**63, size=len(self.buckets))
        batches = []
        for members in _members(self.buckets[order]):  # places in the order
            whole = max(1, len(members) // self.batch_size)
            for part in np.split(members, range(self.batch_size, len(members), self.batch_size))[:whole]:
                batches.append([(int(order[i]), int(seeds[i])) for i in part])
        batches = [batches[i] for i in random.permutation(len(batches))] if self.buckets.any() else batches
        yield from batches  # a generator looks at the epoch when the first batch is wanted, not before


class EvaluationBatches(Sampler[list[int]]):
    """Every index once, in batches of one bucket."""

    def __init__(self, buckets: Sequence[Size], batch_size: int) -> None:
        self.buckets, self.batch_size = _numbered(buckets), batch_size

    def __len__(self) -> int:
        return sum(-(-int(n) // self.batch_size) for n in np.bincount(self.buckets))

    def __iter__(self) -> Iterator[list[int]]:
        for members in _members(self.buckets):
            for start in range(0, len(members), self.batch_size):
                yield [int(i) for i in members[start : start + self.batch_size]]


def _numbered(buckets: Sequence[Size]) -> npt.NDArray[np.int64]:
    """A number from 0 up for each bucket, in order of appearance."""
    numbers = {size: i for i, size in enumerate(dict.fromkeys(buckets))}
    return np.array([numbers[size] for size in buckets], dtype=np.int64)


def _members(buckets: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Positions of each bucket, in order."""
    return [np.flatnonzero(buckets == number) for number in range(int(buckets.max(initial=-1)) + 1)]

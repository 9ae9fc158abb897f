"""Which images make a batch: a function of (seed, epoch), split exactly over processes, and open at any position."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

Indices = npt.NDArray[np.int64]
WINDOW = 16  # files whose images are shuffled together, where a file holds many: the others need not be open


class Share(NamedTuple):
    """What one process does of each batch.

    Attributes:
        rank: Its number.
        world: Number of processes; each takes an equal part.
        accumulate: Steps in which it computes its part.
        nodes: Machines that they run on; each reads its own files, where a file holds many images.
    """

    rank: int = 0
    world: int = 1
    accumulate: int = 1
    nodes: int = 1


class Step(NamedTuple):
    """What one process computes at once.

    Attributes:
        keys: Position and augmentation seed of each image.
        weight: Weight of the mean over these images, so that the mean over all parts is that over the batch.
    """

    keys: list[tuple[int, int]]
    weight: float


class TrainingBatches(Sampler[Step]):
    """The steps of an epoch, in a new order each epoch; every image comes once.

    A bucket of n images is cut into ceil(n / batch_size) batches of sizes that differ by one at most (for each
    machine), so none is larger than `batch_size` and none is a small rest. Order and seeds are functions of
    (seed, epoch) alone, and so is what a batch holds, however many processes share it; only where a file holds many
    images does it depend on the number of machines, since each reads files of its own. `start` skips steps, for a run
    that goes on.

    Args:
        buckets: The bucket of each image; those of one bucket have one size.
        batch_size: Largest number of images in a batch, over all processes.
        seed: Seed of the order.
        share: Which part of each batch; where a batch has fewer images than parts, some come again, and
            weigh more.
        shards: File that each image is in; None: each in one of its own.
    """

    def __init__(
        self,
        buckets: Sequence[Hashable],
        batch_size: int,
        seed: int,
        share: Share | None = None,
        shards: Sequence[int] | None = None,
    ) -> None:
        self.buckets = _numbered(buckets)
        self.batch_size, self.seed, self.share = batch_size, seed, share or Share()
        self.shards = None if shards is None else np.asarray(shards, dtype=np.int64)
        self.epoch = self.start = 0
        self.length = self.share.accumulate * sum(-(-int(n) // batch_size) for n in np.bincount(self.buckets))

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose the epoch, and the step in it with which the next iteration begins."""
        self.epoch, self.start = epoch, start

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Step]:
        random = np.random.default_rng((self.seed, self.epoch))
        lines = self._lines(random)
        seeds = random.integers(2**63, size=len(self.buckets))
        batches = [
            batch for bucket in range(int(self.buckets.max(initial=-1)) + 1) for batch in self._cut(lines, bucket)
        ]
        if self.buckets.any():
            batches = [batches[i] for i in random.permutation(len(batches))]
        for number in range(self.start, len(self)):
            batch, turn = divmod(number, self.share.accumulate)
            yield self._step(batches[batch], turn, seeds)

    def _lines(self, random: np.random.Generator) -> list[Indices]:
        """The images in the order of this epoch; of large files, a line for each machine."""
        if self.shards is None:
            return [random.permutation(len(self.buckets))]
        files = random.permutation(int(self.shards.max(initial=-1)) + 1)
        place = np.empty_like(files)
        place[files] = np.arange(len(files))
        window = place[self.shards] // WINDOW  # of each image
        line = np.lexsort((random.random(len(window)), window))
        return np.array_split(line, self.share.nodes)

    def _cut(self, lines: list[Indices], bucket: int) -> list[list[Indices]]:
        """The batches of one bucket, each as a piece of every line."""
        members = [line[self.buckets[line] == bucket] for line in lines]
        number = -(-sum(map(len, members)) // self.batch_size)
        return list(map(list, zip(*(np.array_split(line, number) for line in members), strict=True)))

    def _step(self, pieces: list[Indices], turn: int, seeds: npt.NDArray[np.int64]) -> Step:
        rank, world, accumulate, _ = self.share
        per_line = world // len(pieces)  # processes
        parts = per_line * accumulate
        everything = np.concatenate(pieces)
        pieces = [p if len(p) >= parts else np.resize(p if len(p) else everything, parts) for p in pieces]
        mine = np.array_split(pieces[rank // per_line], parts)[turn * per_line + rank % per_line]
        weight = len(mine) * parts * len(pieces) / sum(map(len, pieces))
        return Step([(int(i), int(seeds[i])) for i in mine], weight)


class EvaluationBatches(Sampler[list[int]]):
    """Every index once over all processes, in batches of one bucket; each process has as many batches, some empty.

    Args:
        buckets: The bucket of each image.
        batch_size: Images in a batch of one process.
        rank: Number of this process.
        world: Number of processes.
    """

    def __init__(self, buckets: Sequence[Hashable], batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.buckets, self.batch_size = _numbered(buckets), batch_size
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return sum(-(-int(n) // (self.batch_size * self.world)) for n in np.bincount(self.buckets))

    def __iter__(self) -> Iterator[list[int]]:
        together = self.batch_size * self.world
        for bucket in range(int(self.buckets.max(initial=-1)) + 1):
            members = np.flatnonzero(self.buckets == bucket)
            for start in range(0, len(members), together):
                mine = np.array_split(members[start : start + together], self.world)[self.rank]
                yield [int(i) for i in mine]


def part_batches(
    parts: Iterable[range], find_buckets: Callable[[range], Sequence[Hashable]], batch_size: int
) -> Iterator[list[int]]:
    """Every index of each part once, in batches of one part and one bucket.

    Args:
        parts: Each is asked for when the one before has been dealt out.
        find_buckets: The bucket of each image of a part.
        batch_size: Images in a batch.
    """
    for part in parts:
        for batch in EvaluationBatches(find_buckets(part), batch_size):
            yield [part[i] for i in batch]


def _numbered(buckets: Sequence[Hashable]) -> Indices:
    """A number from 0 up for each bucket, in order of appearance."""
    numbers = {size: i for i, size in enumerate(dict.fromkeys(buckets))}
    return np.array([numbers[size] for size in buckets], dtype=np.int64)

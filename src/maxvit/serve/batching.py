"""Images that arrive together are computed together."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol


class Item(Protocol):
    """A prepared image: a tensor (C, H, W), or what has one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Those of one shape are computed together."""
        ...


Compute = Callable[[list[Any]], Sequence[Any]]  # from items of one shape to a result for each
SMOOTHING = 0.1  # of the measured time of an image: the share of the newest batch


@dataclass(eq=False, slots=True)
class _Waiting:
    kind: str
    image: Item
    since: float
    answer: "asyncio.Future[Any]"

    @property
    def group(self) -> tuple[str, tuple[int, ...]]:
        return self.kind, self.image.shape


class Batcher:
    """Collects images and computes those of one size together.

    While a batch is computed the next one fills by itself. Where the network is free, an image waits for others only
    if some are on their way (see `expecting`), and `max_delay_s` at most.

    Args:
        computes: What can be asked for: a name, and the function from images of one shape to one row for each.
        executor: Where it is called: one thread, which several batchers may share.
        max_batch: Images in a batch.
        max_delay_s: The longest wait for others, in seconds.
        done: Called with the size of each batch, the longest wait in it and the seconds that it took.
    """

    def __init__(
        self,
        computes: Mapping[str, Compute],
        executor: Executor,
        max_batch: int,
        max_delay_s: float,
        done: Callable[[int, float, float], object] = lambda *_: None,
    ) -> None:
        self._computes, self._executor, self._done = computes, executor, done
        self._max_batch, self._max_delay_s = max_batch, max_delay_s
        self._waiting: list[_Waiting] = []
        self._coming = 0
        self._changed = asyncio.Event()

    @contextmanager
    def expecting(self) -> Iterator[Callable[[], None]]:
        """Say that images are on their way; until the block ends, or the function that it gives is called."""
        self._coming += 1
        here = False

        def arrived() -> None:
            nonlocal here
            self._coming -= not here
            here = True
            self._changed.set()

        try:
            yield arrived
        finally:
            arrived()

    async def compute(self, kind: str, images: Sequence[Item]) -> list[Any]:
        """One row for each image; they may differ in shape. Cancelled, those not yet begun are left out.

        Args:
            kind: One of `computes`.
            images: Prepared.

        Raises:
            Exception: What the function raised.
        """
        loop = asyncio.get_running_loop()
        waiting = [_Waiting(kind, image, loop.time(), loop.create_future()) for image in images]
        self._waiting += waiting
        self._changed.set()
        return await asyncio.gather(*(w.answer for w in waiting))

    async def run(self) -> None:
        """Compute what comes, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            batch = await self._gather()
            waited = loop.time() - batch[0].since
            begin = time.perf_counter()
            try:
                rows = await loop.run_in_executor(self._executor, self._forward, batch)
            except Exception as error:  # whoever asked is told
                for w in batch:
                    if not w.answer.done():
                        w.answer.set_exception(error)
                continue
            self._done(len(batch), waited, time.perf_counter() - begin)
            for w, row in zip(batch, rows, strict=True):
                if not w.answer.done():
                    w.answer.set_result(row)

    def _forward(self, batch: list[_Waiting]) -> Sequence[Any]:
        return self._computes[batch[0].kind]([w.image for w in batch])

    async def _gather(self) -> list[_Waiting]:
        """Wait for a batch: the oldest image and those of its size."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            self._waiting = [w for w in self._waiting if not w.answer.done()]
            wait = None
            if self._waiting:
                oldest = self._waiting[0]
                batch = [w for w in self._waiting if w.group == oldest.group][: self._max_batch]
                wait = oldest.since + self._max_delay_s - loop.time()
                if len(batch) == self._max_batch or not self._coming or wait <= 0:
                    self._waiting = [w for w in self._waiting if w not in batch]
                    return batch
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), wait)

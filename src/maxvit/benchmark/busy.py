"""Other processes that want the machine's cores, as on a machine that people use."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier


@contextmanager
def busy_processes(number: int) -> Iterator[None]:
    """So many processes that count, each on one core, until the block ends."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(number + 1)
    processes = [context.Process(target=_count, args=(ready,), daemon=True) for _ in range(number)]
    try:
        for process in processes:
            process.start()
        ready.wait()
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def _count(ready: Barrier) -> None:
    ready.wait()
    while True:
        sum(range(100_000))

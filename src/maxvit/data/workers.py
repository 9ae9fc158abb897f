"""Processes that read images for another: what they do with signals, full shared memory and a file that never comes."""

import atexit
import contextlib
import faulthandler
import functools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.multiprocessing.reductions import reduce_storage
from torch.utils.data import get_worker_info

from maxvit.data.formats import quiet_pillow

LONGEST_S = 1800  # that a batch may take to read, then its process ends
logger = logging.getLogger(__name__)


def prepare_worker(number: int) -> None:
    """What a worker does first.

    It leaves signals to the main process, for a scheduler signals all, and ends when that one does. Where a batch does
    not fit into shared memory, PyTorch would drop it and leave the main process waiting for ever; it is copied then.
    """
    quiet_pillow()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    ForkingPickler.register(torch.UntypedStorage, _share_or_copy)


def _end_with_parent() -> None:
    """Also at exit, where a batch in the pipe that nobody reads any more would be waited for for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _share_or_copy(storage: torch.UntypedStorage) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """How a tensor's numbers travel: in shared memory; once there is no more of it, through the pipe."""
    try:
        return reduce_storage(storage)
    except (RuntimeError, OSError) as error:
        copy = functools.partial(_copy, reason=str(error).rpartition(": ")[2])
        ForkingPickler.register(torch.UntypedStorage, copy)  # for good: each failure costs PyTorch an open file
        return copy(storage)


def _copy(storage: torch.UntypedStorage, reason: str) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    numbers = torch.empty(0, dtype=torch.uint8).set_(storage)
    return _copied, (numbers.numpy(), reason)


def _copied(numbers: npt.NDArray[np.uint8], reason: str) -> torch.UntypedStorage:
    """In the main process: what has come through the pipe."""
    _tell(reason)
    return torch.from_numpy(numbers).untyped_storage()


@functools.cache
def _tell(reason: str) -> None:
    logger.warning(
        "batches do not fit into shared memory (%s) and are copied, which is slower: give a container more of it, such "
        "as docker run --shm-size=8g, or use fewer workers (data.workers, --workers)",
        reason,
    )


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """A worker that takes longer than `LONGEST_S` for this ends, so that nobody waits for it for ever."""
    if get_worker_info() is None:
        yield
        return
    faulthandler.dump_traceback_later(LONGEST_S, exit=True, file=2)  # sys.stderr need not be a file
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def kill_workers() -> None:
    """End the workers of this process at once: they hold nothing to be kept, and ignore what Python would send."""
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise an error for each
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


atexit.register(kill_workers)  # before multiprocessing's own, which would wait for them for ever

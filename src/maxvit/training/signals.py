"""Requests to stop: Ctrl-C, and the signals by which schedulers announce the end."""

import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

from maxvit.training.ranks import processes

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is what Slurm is told to send ahead of the end
APART_S = 5.0  # a scheduler signals all processes, and torchrun passes that on: one request, though it comes twice


class Stopped(Exception):
    """Training was asked to stop; all that was learned is saved.

    Args:
        signal: That asked this process, or another.
    """

    def __init__(self, signal: int) -> None:
        super().__init__(signal)
        self.signal = signal


class StopRequest:
    """Whether, by which signal and when (`time.monotonic`) this process was asked to stop."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.at = 0.0
        self._process: int | None = None  # that stops at once

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """In here a request raises `Stopped`, wherever the program is: for work that begins anew anyway."""
        self._process = os.getpid()  # processes that read images inherit the handler
        try:
            yield
        finally:
            self._process = None

    def ask(self, number: int) -> None:
        """Take a signal as a request. Raises `Stopped` within `at_once`."""
        self.number, self.at = number, time.monotonic()
        if self._process == os.getpid():
            raise Stopped(number)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """The first signal asks to stop; the second ends the process at once, whatever it is waiting for."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.ask(number)

    numbers = [int(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, handle) for number in numbers}
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    told_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_at_the_second, args=(ours, numbers), daemon=True).start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(told_before)
        theirs.close()  # and the thread ends
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_at_the_second(signals: socket.socket, numbers: Collection[int]) -> None:
    """In a thread of its own: the main one may be waiting in other code than Python's, where no handler is called."""
    first = None
    with signals:
        while received := signals.recv(64):
            now = time.monotonic()
            for number in received:
                if number not in numbers:
                    continue
                if first is not None and now - first >= (APART_S if processes().started else 0):
                    for process in multiprocessing.active_children():
                        process.kill()
                    if os.isatty(2):
                        os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
                    os._exit(128 + number)
                first = now if first is None else first

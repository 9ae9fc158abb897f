"""Requests to stop: Ctrl-C, and the signals by which schedulers announce the end."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is what Slurm is told to send ahead of the end


class StopRequest:
    """Whether, by which signal and when (`time.monotonic`) this process was asked to stop."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.at = 0.0


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """The first signal asks to stop; a second Ctrl-C is an ordinary interrupt."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may handle signals
        return
    numbers = [int(getattr(signal, name)) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}

    def handle(number: int, frame: FrameType | None) -> None:
        stop.number, stop.at = number, time.monotonic()
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

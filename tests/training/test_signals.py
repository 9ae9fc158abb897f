"""A second signal ends what a first could not."""

import os
import signal
import subprocess
import sys

import pytest

from maxvit.training.signals import Stopped, stop_request

# it waits in C for a lock that nobody frees, where Python calls no handler
PROGRAM = """
import ctypes
from maxvit.training.signals import stop_request

libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(256)
with stop_request():
    print("ready", flush=True)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends a process at the first")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_ends_a_process_that_waits_for_ever(number, code):
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.2)
            process.send_signal(number)
            assert process.wait(30) == code
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_that_begins_anew_anyway_is_left_at_once(number):
    with stop_request() as stop:
        with pytest.raises(Stopped) as stopped, stop.at_once():
            os.kill(os.getpid(), number)
        assert stopped.value.signal == stop.number == number


def test_other_work_is_only_asked_to_stop():
    with stop_request() as stop:
        with stop.at_once():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.number == signal.SIGTERM

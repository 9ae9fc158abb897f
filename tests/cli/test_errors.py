"""From exceptions to exit codes and sentences."""

import multiprocessing
import signal
import time

import pytest

from maxvit.cli.errors import INTERRUPTED, USER_MISTAKE, exit_code

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def worker():
    """A process that ignores what it would be ended by, as those that read images do."""
    before = signal.getsignal(signal.SIGCHLD)
    process = multiprocessing.get_context("fork").Process(target=_stay, daemon=True)
    process.start()
    yield process
    process.kill()
    process.join()
    signal.signal(signal.SIGCHLD, before)


def _stay():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def fail(error):
    raise error


def test_a_worker_that_was_killed_is_one_sentence_that_says_what_to_do(worker, capsys):
    text = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out"
    assert exit_code(lambda: fail(RuntimeError(text))) == USER_MISTAKE
    assert capsys.readouterr().err == (
        "error: a process that reads images ended before its time (DataLoader worker (pid 7) is killed by signal: Bus "
        "error): memory may be full; use fewer workers (data.workers, --workers), or give a container more shared "
        "memory, such as docker run --shm-size=8g\n"
    )
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL


def test_ctrl_c_waits_for_no_worker(worker):
    assert exit_code(lambda: fail(KeyboardInterrupt())) == INTERRUPTED
    worker.join(30)
    assert worker.exitcode == -signal.SIGKILL

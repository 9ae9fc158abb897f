"""Processes that keep cores busy: they run while they are wanted, and are gone afterwards, whatever happens."""

import subprocess

import pytest

from maxvit.benchmark import busy


@pytest.fixture
def started(monkeypatch):
    """The processes that were started."""
    found, real = [], subprocess.Popen

    def start(*arguments, **settings):
        found.append(real(*arguments, **settings))
        return found[-1]

    monkeypatch.setattr(busy.subprocess, "Popen", start)
    return found


def test_they_run_until_the_block_ends(started):
    with busy.busy_processes(2):
        assert [process.poll() for process in started] == [None, None]
    assert [process.poll() for process in started] == [-9, -9]


def test_they_end_with_an_error_too(started):
    with pytest.raises(ZeroDivisionError), busy.busy_processes(1):
        _ = 1 / 0
    assert started[0].poll() == -9

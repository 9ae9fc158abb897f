"""The memory of this process."""

import mmap

import pytest

from maxvit.benchmark import machine

pytestmark = pytest.mark.skipif(machine.peak_bytes() is None, reason="/proc/self/status says no VmHWM here")
SIZE = 300_000_000


def hold() -> None:
    """Hold SIZE bytes for a moment, past the allocator, which may keep what is freed."""
    with mmap.mmap(-1, SIZE) as memory:
        for page in range(0, SIZE, mmap.PAGESIZE):
            memory[page] = 1


def test_the_peak_counts_what_was_held_and_is_free_again():
    if not machine.forget_peak():  # a test before this one may have held more
        pytest.skip("this system does not let a process forget its peak")
    hold()
    assert machine.peak_bytes() > machine.resident_bytes() + SIZE // 2


def test_a_peak_can_be_forgotten():
    hold()
    if not machine.forget_peak():
        pytest.skip("this system does not let a process forget its peak")
    assert machine.peak_bytes() < machine.resident_bytes() + SIZE // 2

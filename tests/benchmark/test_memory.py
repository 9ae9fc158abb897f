"""The memory of this process."""

import numpy as np
import pytest

from maxvit.benchmark import memory

pytestmark = pytest.mark.skipif(memory.peak_bytes() is None, reason="/proc/self/status says no VmHWM here")
SIZE = 300_000_000


def test_the_peak_counts_what_was_held_and_is_free_again():
    before = memory.peak_bytes()
    np.ones(SIZE, np.uint8)
    assert memory.peak_bytes() > max(before, memory.resident_bytes() + SIZE // 2)


def test_a_peak_can_be_forgotten():
    np.ones(SIZE, np.uint8)
    if not memory.forget_peak():
        pytest.skip("this system does not let a process forget its peak")
    assert memory.peak_bytes() < memory.resident_bytes() + SIZE // 2

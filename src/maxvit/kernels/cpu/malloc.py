"""What the C library does with memory that is freed, while a network trains on the CPU."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have this process keep what it frees, for the next tensor; does nothing where the C library is not glibc.

    By itself glibc gives every large block back to the system at once, and each page of the next one is cleared and
    mapped again: a tenth of a training step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)

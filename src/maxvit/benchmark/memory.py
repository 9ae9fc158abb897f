"""How much memory this process holds, and the most it held since a moment."""

import ctypes
import gc
import re
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_bytes() -> int | None:
    """What of this process is in memory now; None where the system does not say (it is asked as Linux answers)."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """The most that was in memory at once since `forget_peak`, or since the start where that returned False."""
    return _status("VmHWM")


def forget_peak() -> bool:
    """Give what is free back to the system and count the peak from now on; False where that is not possible."""
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
        if trim is not None:
            trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    if not _STATUS.exists():
        return None
    found = re.search(rf"^{key}:\s+(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None

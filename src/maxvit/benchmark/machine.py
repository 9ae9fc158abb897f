"""Where and of what the numbers are: hardware, versions, commit; its matrix-product peak, and the memory held."""

import ctypes
import gc
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from maxvit.kernels.cpu.build import KernelsUnavailable, load, widths

# instruction sets on which the speed of matrix products depends, as /proc/cpuinfo names them
X86 = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
ARM = ("asimd", "asimddp", "bf16", "i8mm", "sve", "sme")
ALLOCATOR = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "LD_PRELOAD")
PEAK_SIDE = 2048
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def describe_machine(device: str, threads: int) -> dict[str, str]:
    """What a reader needs to judge the numbers, as sentences by heading."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    about = {
        "CPU": f"{_cpu_model(lines)}, {os.cpu_count()} cores, {threads} {'thread' if threads == 1 else 'threads'} used",
        "instructions": _instructions(lines),
        "memory": _memory(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "allocator": " ".join(f"{name}={os.environ[name]}" for name in ALLOCATOR if name in os.environ)
        or "as it comes",
    }
    if device == "cuda":
        about["GPU"] = f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return about


def _cpu_model(lines: list[str]) -> str:
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")


def _instructions(lines: list[str]) -> str:
    """Those that the machine has, and those that it lacks."""
    flags = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith(("flags", "Features"))), None)
    if flags is None:
        return torch.backends.cpu.get_cpu_capability()
    known = ARM if "asimd" in flags else X86
    have, lack = [s for s in known if s in flags], [s for s in known if s not in flags]
    return f"{', '.join(have) or 'none'}" + (f"; not {', '.join(lack)}" if lack else "")


def _memory() -> str:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return f"{pages / 2**30:.0f} GiB" if pages else "unknown"


def native_kernels() -> str:
    """How wide their vectors are, or why there are none."""
    try:
        width = widths()[0]
        load(width)
    except KernelsUnavailable as error:
        return f"none: {error}"
    return f"vectors of {width // 2} floats"


def versions(packages: Iterable[str]) -> str:
    """Versions of those packages that are installed."""
    found = []
    for package in sorted(set(packages)):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def commit() -> str:
    """The commit of this code, or "unknown" where it is not in a git repository."""
    package = Path(__file__).parent.parent
    try:
        name = _git(package, "rev-parse", "--short", "HEAD")
        changed = name and _git(package, "status", "--porcelain", "--", str(package))
    except FileNotFoundError:  # no git
        name = changed = ""
    return f"{name}, with changes" if changed else name or "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def today() -> str:
    """The date, UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def matrix_product_flops(device: str, precision: str, tries: int = 5) -> float:
    """The best of several products of two large matrices, in operations (multiplications and additions) a second.

    On the CPU they are fp32 whatever the precision: many have no products in bf16, and one would take minutes.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    dtype = torch.bfloat16 if precision == "bf16" and device == "cuda" else torch.float32
    side = PEAK_SIDE if device == "cpu" else 4 * PEAK_SIDE
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        start = time.perf_counter()
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


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

"""The native CPU kernels (native/*.h): compiled once by the machine's own C++ compiler, kept in a cache, loaded."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from maxvit.errors import MaxViTError
from maxvit.storage import write_atomically

SOURCES = Path(__file__).parent / "native"
COMPILERS = ("c++", "g++", "clang++")
FLAGS = (
    "-O3",
    "-march=native",
    "-std=c++17",
    "-fPIC",
    "-fopenmp",
    "-shared",
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only"),
)


class KernelsUnavailable(MaxViTError):
    """Why the native kernels cannot be used here, in a sentence."""


def widths() -> tuple[int, ...]:
    """In multiples of how many channels kernels for this processor work, the fastest first: two vectors of floats."""
    return (32, 16) if torch.backends.cpu.get_cpu_capability() == "AVX512" else (16,)


@functools.cache
def load(width: int) -> ctypes.CDLL:
    """The kernels, compiled for this processor if they are not in the cache (about ten seconds).

    Args:
        width: One of `widths`.

    Raises:
        KernelsUnavailable: If there is no compiler, it fails, or what it makes cannot be kept or loaded.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "", *COMPILERS))), None)
    if compiler is None:
        raise KernelsUnavailable("no C++ compiler was found (tried $CXX, c++, g++, clang++)")
    flags = (*FLAGS, f"-DLANES={width // 2}")
    try:
        library = cache_folder() / f"kernels-{_fingerprint(compiler, flags)}.so"
        if not library.exists():
            write_atomically(library, lambda temporary: _compile(compiler, flags, temporary))
        return ctypes.CDLL(str(library))
    except KernelsUnavailable:
        raise
    except (MaxViTError, OSError, RuntimeError) as error:  # a home that is missing, full, read-only or runs nothing
        raise KernelsUnavailable(f"what was compiled cannot be kept or loaded: {error}") from error


def cache_folder() -> Path:
    """Where what can be made again is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maxvit"


def _compile(compiler: str, flags: tuple[str, ...], to: Path) -> None:
    command = [compiler, *flags, str(SOURCES / "maxvit.cpp"), "-o", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise KernelsUnavailable(f"{compiler} could not compile the kernels: {first}")


def _fingerprint(compiler: str, flags: tuple[str, ...]) -> str:
    """Of all that the compiled file depends on: sources, flags, compiler and processor."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    processor = Path("/proc/cpuinfo")
    lines = processor.read_text().splitlines() if processor.exists() else []
    can = [line for line in lines if line.startswith(("flags", "Features"))][:1]  # on x86, on ARM
    for fact in (*flags, version, platform.machine(), *can):
        digest.update(fact.encode())
    return digest.hexdigest()[:16]

"""The native CPU kernels (src/*.h): compiled once by the machine's own C++ compiler, kept in a cache, loaded."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from maxvit.errors import MaxViTError
from maxvit.kernels.cpu.levels import FLAGS, SOURCES, find_compiled, processor_features
from maxvit.storage import cache_folder, write_atomically

COMPILERS = ("c++", "g++", "clang++")


class KernelsUnavailable(MaxViTError):
    """Why the native kernels cannot be used here, in a sentence."""


def widths() -> tuple[int, ...]:
    """In multiples of how many channels kernels for this processor work, the fastest first: two vectors of floats."""
    return {"AVX512": (32, 16), "AVX2": (16,)}.get(torch.backends.cpu.get_cpu_capability(), (8,))


@functools.cache
def load(width: int) -> ctypes.CDLL:
    """The kernels: those that came with the package, or compiled for this processor if not in the cache (ten seconds).

    Args:
        width: One of `widths`.

    Raises:
        KernelsUnavailable: If there is no compiler, it fails, or what it makes cannot be kept or loaded.
    """
    compiled = find_compiled(platform.machine(), processor_features(), width // 2)
    if compiled is not None:
        return _open(compiled)
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX") or "", *COMPILERS))), None)
    if compiler is None:
        raise KernelsUnavailable(
            "no C++ compiler was found (tried $CXX, c++, g++, clang++), and no compiled kernels came with the package: "
            "with either of them it is faster"
        )
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    told = compiler_flags(platform.system(), platform.machine(), version, _openmp_places())
    flags = (*told, f"-DLANES={width // 2}")
    try:
        library = cache_folder() / f"kernels-{_fingerprint(version, flags)}.so"
        if not library.exists():
            write_atomically(library, lambda temporary: _compile(compiler, flags, temporary))
    except KernelsUnavailable:
        raise
    except (MaxViTError, OSError, RuntimeError) as error:  # a home that is missing, full or read-only
        raise KernelsUnavailable(f"what was compiled cannot be kept or loaded: {error}") from error
    return _open(library)


def _open(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:  # a place from which nothing may be run
        raise KernelsUnavailable(f"what was compiled cannot be kept or loaded: {error}") from error


def compiler_flags(system: str, machine: str, version: str, places: Sequence[Path]) -> tuple[str, ...]:
    """What the compiler is told, but for the width.

    Apple's clang knows OpenMP but has neither its header nor its library, so it is told where they are: the first of
    each by itself, as PyTorch has at least the library.

    Args:
        system: As `platform.system`.
        machine: As `platform.machine`.
        version: What the compiler says of itself.
        places: Folders that may hold include/omp.h and lib/libomp.dylib, for macOS alone.

    Raises:
        KernelsUnavailable: If OpenMP was not found.
    """
    is_clang = "clang" in version
    # clang for ARM takes the processor by -mcpu
    tuned = "-mcpu=native" if is_clang and machine in ("arm64", "aarch64") else "-march=native"
    if system != "Darwin" or not is_clang:
        return (*FLAGS, tuned, "-fopenmp")
    header = next((p / "include" for p in places if (p / "include" / "omp.h").is_file()), None)
    library = next((p / "lib" for p in places if (p / "lib" / "libomp.dylib").is_file()), None)
    if header is None or library is None:
        missing = "omp.h" if header is None else "libomp.dylib"
        raise KernelsUnavailable(f"{missing} was not found, which clang needs for several threads: brew install libomp")
    link = (f"-L{library}", "-lomp", f"-Wl,-rpath,{library}")
    return (*FLAGS, tuned, "-Xpreprocessor", "-fopenmp", f"-I{header}", *link)


def _openmp_places() -> list[Path]:
    """PyTorch's own, as its library is in this process already and a second one would end it; then the user's, conda's
    and Homebrew's (on Apple's processors, on Intel's)."""
    named = [Path(place) for name in ("OMP_PREFIX", "CONDA_PREFIX") if (place := os.environ.get(name))]
    return [Path(torch.__path__[0]), *named, Path("/opt/homebrew/opt/libomp"), Path("/usr/local/opt/libomp")]


def _compile(compiler: str, flags: tuple[str, ...], to: Path) -> None:
    command = [compiler, *flags, str(SOURCES / "maxvit.cpp"), "-o", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise KernelsUnavailable(f"{compiler} could not compile the kernels: {first}")


def _fingerprint(version: str, flags: tuple[str, ...]) -> str:
    """Fingerprint of all that the compiled file depends on: sources, flags, compiler and processor."""
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.read_bytes())
    for fact in (*flags, version, platform.machine(), *sorted(processor_features())):
        digest.update(fact.encode())
    return digest.hexdigest()[:16]

"""The kinds of processor that kernels are compiled for. The build reads this file alone: it imports nothing of ours."""

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parent / "src"
COMPILED = Path(__file__).parent / "compiled"  # in wheels for a platform; elsewhere the machine's compiler makes them
FLAGS = (
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-shared",
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffinite-math-only"),
)
# PyTorch is in the process already, and has an OpenMP of this name
PORTABLE = ("-fopenmp", "-static-libstdc++", "-static-libgcc", "-s")
AVX2 = frozenset(("avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"))
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


class Level(NamedTuple):
    """A kind of processor.

    Attributes:
        name: Part of the file's name.
        machine: As `platform.machine`.
        needs: Features, as /proc/cpuinfo names them.
        flags: What tells the compiler of it.
        lanes: Floats of a vector; a file for each.
    """

    name: str
    machine: str
    needs: frozenset[str]
    flags: tuple[str, ...]
    lanes: tuple[int, ...]

    def file(self, lanes: int) -> str:
        """Name of the file."""
        return f"{self.machine}-{self.name}-{lanes}.so"

    def command(self, compiler: str, lanes: int, to: Path) -> list[str]:
        """What compiles the file."""
        return [
            compiler,
            *FLAGS,
            *PORTABLE,
            *self.flags,
            f"-DLANES={lanes}",
            str(SOURCES / "maxvit.cpp"),
            "-o",
            str(to),
        ]


LEVELS = (  # the fastest first
    Level(
        "avx512-fp16",
        "x86_64",
        AVX512 | {"avx512_vnni", "avx512_fp16"},
        ("-march=x86-64-v4", "-mavx512vnni", "-mavx512fp16"),
        (16, 8),
    ),
    Level("avx512-vnni", "x86_64", AVX512 | {"avx512_vnni"}, ("-march=x86-64-v4", "-mavx512vnni"), (16, 8)),
    Level("avx512", "x86_64", AVX512, ("-march=x86-64-v4",), (16, 8)),
    Level("avx2-vnni", "x86_64", AVX2 | {"avx_vnni"}, ("-march=x86-64-v3", "-mavxvnni"), (8,)),
    Level("avx2", "x86_64", AVX2, ("-march=x86-64-v3",), (8,)),
    Level("fp16", "aarch64", frozenset(("asimd", "asimddp", "asimdhp")), ("-march=armv8.2-a+dotprod+fp16",), (4,)),
    Level("dotprod", "aarch64", frozenset(("asimd", "asimddp")), ("-march=armv8.2-a+dotprod",), (4,)),
    Level("neon", "aarch64", frozenset(("asimd",)), ("-march=armv8-a",), (4,)),
)


def find_compiled(machine: str, features: Collection[str], lanes: int, folder: Path = COMPILED) -> Path | None:
    """The file for a processor that came with the package; None: there is none."""
    fitting = (level for level in LEVELS if level.machine == machine and level.needs <= set(features))
    files = (folder / level.file(lanes) for level in fitting if lanes in level.lanes)
    return next((file for file in files if file.is_file()), None)


def processor_features() -> frozenset[str]:
    """As Linux names them; elsewhere none."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")  # on x86, on ARM
    return frozenset(found.partition(":")[2].split())

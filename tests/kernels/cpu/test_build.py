"""What compilers are told on machines that are not here."""

from pathlib import Path

import pytest

from maxvit.kernels.cpu.build import KernelsUnavailable, OpenMP, compiler_flags, find_openmp

GCC, APPLE = "g++ (Debian 12.2.0-14) 12.2.0", "Apple clang version 15.0.0 (clang-1500.3.9.4)"
FOUND, MISSING = OpenMP(Path("/brew/include"), Path("/torch/lib")), OpenMP(None, None)


@pytest.mark.parametrize(
    ("system", "machine", "version", "openmp", "expected"),
    [
        ("Linux", "x86_64", GCC, MISSING, {"-march=native", "-fopenmp"}),
        ("Linux", "aarch64", "Debian clang version 14.0.6", MISSING, {"-mcpu=native", "-fopenmp"}),
        ("Darwin", "arm64", "g++-14 (Homebrew GCC 14.1.0)", MISSING, {"-march=native", "-fopenmp"}),
        (
            "Darwin",
            "arm64",
            APPLE,
            FOUND,
            {"-mcpu=native", "-Xpreprocessor", "-I/brew/include", "-L/torch/lib", "-lomp", "-Wl,-rpath,/torch/lib"},
        ),
        ("Darwin", "x86_64", APPLE, FOUND, {"-march=native", "-Xpreprocessor", "-lomp"}),
    ],
)
def test_each_compiler_is_told_what_it_takes(system, machine, version, openmp, expected):
    flags = compiler_flags(system, machine, version, openmp)
    assert expected <= set(flags)
    if "-Xpreprocessor" in flags:
        assert flags[flags.index("-Xpreprocessor") + 1] == "-fopenmp"  # else clang takes it for its own, and refuses


def test_without_openmp_a_mac_is_told_what_to_install():
    with pytest.raises(KernelsUnavailable, match=r"libomp.dylib was not found, .*: brew install libomp"):
        compiler_flags("Darwin", "arm64", APPLE, FOUND._replace(library=None))


def test_header_and_library_are_found_each_where_it_is(tmp_path):
    torch, brew = tmp_path / "torch", tmp_path / "brew"
    for file in (torch / "lib" / "libomp.dylib", brew / "lib" / "libomp.dylib", brew / "include" / "omp.h"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert find_openmp([torch, brew]) == OpenMP(brew / "include", torch / "lib")
    assert find_openmp([torch]) == OpenMP(None, torch / "lib")

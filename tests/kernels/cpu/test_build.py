"""What compilers are told on machines that are not here."""

from pathlib import Path

import pytest

from maxvit.kernels.cpu.build import KernelsUnavailable, compiler_flags

GCC, APPLE = "g++ (Debian 12.2.0-14) 12.2.0", "Apple clang version 15.0.0 (clang-1500.3.9.4)"


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """PyTorch's folder, which has the library alone, and Homebrew's."""
    torch, brew = tmp_path / "torch", tmp_path / "brew"
    for file in (torch / "lib" / "libomp.dylib", brew / "lib" / "libomp.dylib", brew / "include" / "omp.h"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return [torch, brew]


@pytest.mark.parametrize(
    ("system", "machine", "version", "expected"),
    [
        ("Linux", "x86_64", GCC, {"-march=native", "-fopenmp"}),
        ("Linux", "aarch64", "Debian clang version 14.0.6", {"-mcpu=native", "-fopenmp"}),
        ("Darwin", "arm64", "g++-14 (Homebrew GCC 14.1.0)", {"-march=native", "-fopenmp"}),
    ],
)
def test_each_compiler_is_told_what_it_takes(system, machine, version, expected):
    assert expected <= set(compiler_flags(system, machine, version, []))


@pytest.mark.parametrize(("machine", "tuned"), [("arm64", "-mcpu=native"), ("x86_64", "-march=native")])
def test_a_mac_is_told_where_header_and_library_are_each_by_itself(places, machine, tuned):
    torch, brew = places
    flags = compiler_flags("Darwin", machine, APPLE, places)
    assert {tuned, f"-I{brew}/include", f"-L{torch}/lib", "-lomp", f"-Wl,-rpath,{torch}/lib"} <= set(flags)
    assert flags[flags.index("-Xpreprocessor") + 1] == "-fopenmp"  # else clang takes it for its own, and refuses


def test_without_openmp_a_mac_is_told_what_to_install(places):
    for found, missing in ((places[:1], r"omp\.h"), (places[1:], r"libomp\.dylib")):
        if missing == r"libomp\.dylib":
            (found[0] / "lib" / "libomp.dylib").unlink()
        with pytest.raises(KernelsUnavailable, match=rf"{missing} was not found, .*: brew install libomp"):
            compiler_flags("Darwin", "arm64", APPLE, found)

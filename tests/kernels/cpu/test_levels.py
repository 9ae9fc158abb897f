"""Kernels that come with a wheel: each kind of processor gets its file, needs no compiler, and computes the same."""

import functools
import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

import healthy
from maxvit import MaxViT, MaxViTConfig, optimize
from maxvit.kernels.cpu import build, levels
from official import CHECKPOINT, difference

ROOT = Path(__file__).parents[3]
EVERYTHING = frozenset().union(*(level.needs for level in levels.LEVELS))


@pytest.fixture
def compiled(tmp_path):
    for level in levels.LEVELS:
        for lanes in level.lanes:
            (tmp_path / level.file(lanes)).touch()
    return functools.partial(levels.find_compiled, folder=tmp_path)


@pytest.mark.parametrize(
    ("machine", "without", "lanes", "name"),
    [
        ("x86_64", set(), 16, "x86_64-avx512-fp16-16.so"),
        ("x86_64", {"avx512_fp16"}, 16, "x86_64-avx512-vnni-16.so"),
        ("x86_64", {"avx512_fp16", "avx512_vnni"}, 16, "x86_64-avx512-16.so"),
        ("x86_64", {"avx512f"}, 8, "x86_64-avx2-vnni-8.so"),
        ("x86_64", {"avx512f", "avx_vnni"}, 8, "x86_64-avx2-8.so"),
        ("aarch64", set(), 4, "aarch64-fp16-4.so"),
        ("aarch64", {"asimdhp"}, 4, "aarch64-dotprod-4.so"),
        ("aarch64", {"asimdhp", "asimddp"}, 4, "aarch64-neon-4.so"),
    ],
)
def test_the_fastest_that_a_processor_can_run_is_taken(compiled, machine, without, lanes, name):
    assert compiled(machine, EVERYTHING - without, lanes).name == name


@pytest.mark.parametrize(
    ("machine", "without", "lanes"), [("x86_64", {"fma"}, 8), ("aarch64", set(), 16), ("ppc", set(), 8)]
)
def test_where_none_can_be_run_there_is_none(compiled, machine, without, lanes):
    assert compiled(machine, EVERYTHING - without, lanes) is None


def test_a_checkout_has_none():
    assert levels.find_compiled(platform.machine(), EVERYTHING, 8) is None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    (path,) = folder.glob("*.whl")
    return path


PROGRAM = f"""
import sys, torch, maxvit
from maxvit.kernels.cpu import build
from official import golden, difference
assert maxvit.__file__.startswith(sys.argv[1]), maxvit.__file__
expected, fast = golden("micro_224"), maxvit.optimize(maxvit.load_model({str(CHECKPOINT)!r}))
with torch.inference_mode():
    print(fast.engine, difference(fast(expected["images"]), expected["logits"]) < 2e-5)
print(build.load(build.widths()[0])._name)
"""


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="wheels with kernels are for Linux")
def test_a_wheel_needs_no_compiler(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    paths = [str(tmp_path / "installed"), str(ROOT / "tests")]
    environment = {"PATH": "", "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "installed")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    engine, library = done.stdout.splitlines()
    assert engine == "native CPU kernels, fp32 True"
    assert library.startswith(str(tmp_path / "installed"))
    assert not list((tmp_path / ".cache").rglob("*.so"))


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="wheels with kernels are for Linux")
@pytest.mark.parametrize("level", levels.LEVELS, ids=lambda level: f"{level.machine}-{level.name}")
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_kernels_for_each_kind_of_processor_compute_the_same(wheel, tmp_path, monkeypatch, level, precision):
    if level.machine != platform.machine() or not level.needs <= levels.processor_features():
        pytest.skip("this processor cannot run it")
    if precision == "fp16" and "fp16" not in level.name:
        pytest.skip("such processors do not multiply 16-bit floats")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path)
    folder = tmp_path / "maxvit" / "kernels" / "cpu" / "compiled"
    monkeypatch.setattr(build, "find_compiled", lambda machine, features, lanes: folder / level.file(lanes))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512" if 16 in level.lanes else "AVX2")
    build.load.cache_clear()
    try:
        config = MaxViTConfig(stem_channels=32, channels=(32, 32, 64, 64), depths=(1, 1, 1, 1), head_dim=32)
        model = healthy.fill(MaxViT(config))
        images = torch.randn(2, 3, 96, 64)
        allowed = {"fp32": 2e-5, "fp16": 5e-3, "int8": 0.2}[precision]
        with torch.inference_mode():
            assert difference(optimize(model, backend="native", precision=precision)(images), model(images)) < allowed
        assert Path(build.load(2 * level.lanes[0])._name).parent == folder
    finally:
        build.load.cache_clear()

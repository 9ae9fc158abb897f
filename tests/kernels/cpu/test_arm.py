"""The native kernels on ARM, emulated: calls that were recorded here are replayed there, and give the same numbers.

It takes Debian's g++-aarch64-linux-gnu and qemu-user. How fast they are cannot be seen so.
"""

import dataclasses
import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from recording import recorded

import healthy
from halves import can_halve
from maxvit import MaxViT, MaxViTConfig, accelerate, optimize
from maxvit.config import OFFICIAL, TORCHVISION
from maxvit.kernels.cpu import levels

CONFIG = MaxViTConfig(
    stem_channels=16,
    channels=(32, 32, 48, 64),
    depths=(1, 2, 1, 1),
    window_size=(3, 4),
    grid_size=(4, 2),
    head_dim=16,
    num_classes=7,
)
CROSS, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
HERE = Path(__file__).parent
INFERENCE = {"maxvit_network", "maxvit_linear"}
TRAINING = {f"maxvit_{name}" for name in ("moments", "apply", "pool", "scale_gradient", "apply_gradient", "combine")}
TRAINING |= {f"maxvit_{name}" for name in ("activation", "depthwise", "depthwise_gradient", "attention")}
TRAINING |= {"maxvit_attention_gradient", "maxvit_blocks", "maxvit_shares"}


def infer(path, precision, dialect):
    model = healthy.fill(MaxViT(dataclasses.replace(CONFIG, dialect=dialect)))
    with recorded(path) as recorder, torch.inference_mode():
        fast = optimize(model, backend="native", precision=precision)
        for size in ((2, 3, 96, 128), (1, 3, 45, 33)):
            fast(torch.randn(size))
    return recorder.names


def learn(path, dialect):
    model = healthy.fill(MaxViT(dataclasses.replace(CONFIG, dialect=dialect))).train()
    with recorded(path) as recorder:
        F.cross_entropy(accelerate(model)(torch.randn(2, 3, 45, 64)), torch.tensor([1, 5])).backward()
    return recorder.names


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    assert infer(folder / "fp32", "fp32", OFFICIAL) == INFERENCE
    infer(folder / "fp32-torchvision", "fp32", TORCHVISION)
    infer(folder / "int8", "int8", OFFICIAL)
    if can_halve():
        infer(folder / "fp16", "fp16", OFFICIAL)
    assert learn(folder / "training", OFFICIAL) == TRAINING
    learn(folder / "training-torchvision", TORCHVISION)
    return folder


def compile_replay(compiler, level, to):
    command = level.command(compiler, 4, to)
    command = [word for word in command if word not in ("-shared", "-fPIC") and not word.endswith("maxvit.cpp")]
    subprocess.run([*command, "-static", f"-I{levels.SOURCES}", str(HERE / "replay.cpp")], check=True)


def replay(program, calls, name, *before):
    allowed = {"int8": "2e-2", "fp16": "2e-3"}.get(name, "2e-5")  # a number may just be rounded the other way
    done = subprocess.run([*before, str(program), str(calls / name), allowed], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kinds(level):
    """What was recorded and this processor can compute."""
    halved = ["fp16"] if can_halve() and "fp16" in level.name else []
    return ["fp32", "fp32-torchvision", "int8", "training", "training-torchvision", *halved]


@pytest.mark.full
@pytest.mark.skipif(platform.machine() != "x86_64", reason="it replays on the processor that it is recorded on")
def test_a_replay_here_gives_the_same(calls, tmp_path):
    (level,) = [level for level in levels.LEVELS if (level.machine, level.name) == ("x86_64", "avx2")]
    compile_replay("c++", level, tmp_path / "replay")
    for name in kinds(level):
        replay(tmp_path / "replay", calls, name)


@pytest.mark.full
@pytest.mark.skipif(not (shutil.which(CROSS) and shutil.which(EMULATOR)), reason=f"needs {CROSS} and {EMULATOR}")
@pytest.mark.parametrize(
    "level", [each for each in levels.LEVELS if each.machine == "aarch64"], ids=lambda each: each.name
)
def test_arm_gives_the_same(calls, tmp_path, level):
    compile_replay(CROSS, level, tmp_path / "replay")
    for name in kinds(level):
        replay(tmp_path / "replay", calls, name, EMULATOR, "-cpu", "max")

"""A run that is killed at any moment goes on as if nothing had happened, and no file of it is ever half."""

import csv
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from maxvit import storage
from maxvit.training.checkpoints import find_states, read_state
from small import SETTINGS

DYING = Path(__file__).with_name("dying.py")
MOMENTS = {
    "probe": 3,
    "step": 10,
    "data": 40,
    "write": 6,
    "rename": 9,
    "time": 60,
}  # and the largest number that still comes
SPEED = ("images_per_second", "seconds", "waiting")


@pytest.fixture(scope="module")
def command(images):
    settings = [*SETTINGS, "model.probe=true", "optimization.epochs=4", "checkpoints.every_updates=2"]
    return ["train", str(images), *(word for s in settings for word in ("--set", s)), "--json"]


def run(moment, number, arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, str(DYING), moment, str(number), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def unharmed(command, tmp_path_factory):
    """A run that was never killed."""
    folder = tmp_path_factory.mktemp("unharmed") / "run"
    done = run("never", 0, [*command, "--out", folder])
    assert done.returncode == 0, done.stderr
    return folder


def weights(path):
    return storage.load(path)[0]


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in SPEED} for row in csv.DictReader(file)]


def assert_whole(folder):
    """Every file that has its name can be read."""
    for path in find_states(folder):
        read_state(path)
    for path in folder.glob("*.safetensors"):
        weights(path)


@pytest.mark.parametrize(
    ("kills", "seed"), [(1, 0), pytest.param(20, 1, marks=[pytest.mark.full, pytest.mark.timeout(1800)])]
)
def test_a_run_killed_again_and_again_is_the_run_that_was_never_killed(unharmed, command, tmp_path, kills, seed):
    chance, died, through = random.Random(seed), 0, 0
    moments = list(MOMENTS)
    chance.shuffle(moments)
    while died < kills:
        folder = tmp_path / f"run-{through}"
        arguments = [*command, "--out", folder, "--continue"]
        done = None
        while died < kills and (done is None or done.returncode):  # else it was through before its moment came
            moment = moments[died % len(moments)]
            done = run(moment, chance.randint(1, MOMENTS[moment]), arguments)
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            assert_whole(folder)
            died += done.returncode != 0
        if done.returncode:
            assert run("never", 0, arguments).returncode in (0, 2)  # 2: it was finished, but for the report
        assert_same(folder, unharmed)
        through += 1
    print(f"killed {died} times in {through} runs")


def assert_same(folder, unharmed):
    """The same metrics and weights, bit by bit, and nothing left over."""
    assert rows(folder) == rows(unharmed)
    for name in ("best.safetensors", "last.safetensors"):
        ours, theirs = weights(folder / name), weights(unharmed / name)
        assert [n for n in theirs if not torch.equal(ours[n], theirs[n])] == []
    assert not list(folder.rglob(".*"))


@pytest.mark.full
def test_sigterm_saves_and_exits_with_75_and_the_same_command_goes_on(unharmed, command, tmp_path):
    folder = tmp_path / "run"
    arguments = [*command, "--out", folder, "--continue"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    program = subprocess.Popen(
        [sys.executable, "-m", "maxvit", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while not any("epoch 1/" in line for line in program.stderr):
        assert program.poll() is None
    program.send_signal(signal.SIGTERM)
    _, err = program.communicate(timeout=120)
    assert program.returncode == 75, err
    assert "stopped; continue with: maxvit train --resume" in err
    assert read_state(find_states(folder)[0])["learner"]["updates"] >= 3
    assert run("never", 0, arguments).returncode == 0
    assert_same(folder, unharmed)


@pytest.mark.full
def test_torchrun_starts_a_dead_process_again_and_the_run_goes_on(unharmed, command, tmp_path):
    folder = tmp_path / "run"
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "--max-restarts", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *words, str(DYING), "restart", "0", *map(str, command), "--out", str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert_same(folder, unharmed)

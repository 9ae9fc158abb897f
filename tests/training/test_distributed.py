"""Several processes are one: the same losses, the same result, every image once; and they stop together."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from maxvit import storage
from maxvit.cli import main
from maxvit.data.sampling import Share
from maxvit.errors import MaxViTError
from maxvit.training.checkpoints import find_states, read_state
from maxvit.training.distributed import Engine, Flag
from maxvit.training.recipe import EngineSection
from small import SETTINGS

LOSSES = Path(__file__).with_name("losses.py")
# float64; nothing random but the order; statistics that stay
EXACT = ["engine.precision=fp64", "model.drop_path_rate=0", "model.frozen_batch_norm=true", "task.augmentation=none"]
EXACT += ["optimization.schedule=constant"]  # so that a shorter run is the beginning of a longer one
EPOCHS = 5  # of 3 updates


def start(*words, processes=2, script=LOSSES):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(torchrun if processes > 1 else []), script, *words]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def losses_of(images, tmp_path_factory):
    """The losses of every update of a run, over all processes, and the run."""

    def measure(*settings, processes=1, epochs=EPOCHS):
        folder = tmp_path_factory.mktemp("losses")
        everything = [*SETTINGS, *EXACT, f"optimization.epochs={epochs}", *settings]
        words = [word for s in everything for word in ("--set", s)]
        start(folder / "losses", "train", images, *words, "--out", folder / "run", processes=processes)
        total = Counter()
        for path in (folder / "losses").iterdir():
            for update, loss in json.loads(path.read_text()):
                total[update] += loss
        assert sorted(total) == list(range(3 * epochs))
        return torch.tensor([total[u] for u in sorted(total)], dtype=torch.float64), folder / "run"

    return measure


@pytest.fixture(scope="module")
def alone(losses_of):
    return losses_of()


@pytest.fixture(scope="module")
def two(losses_of):
    return losses_of(processes=2)


def furthest(one, other):
    """The largest difference of two runs' losses."""
    number = min(len(one[0]), len(other[0]))
    difference = float((one[0][:number] - other[0][:number]).abs().max())
    print(f"largest difference of {number} losses: {difference:.1e}")
    return difference


def test_two_processes_learn_what_one_does(alone, two):
    assert alone[0].std() > 0.01  # it does learn
    assert furthest(alone, two) < 1e-9
    scores = []
    for run in (alone[1], two[1]):
        with (run / "metrics.csv").open(newline="") as file:
            scores.append([float(row["val_loss"]) for row in csv.DictReader(file)])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)  # sums in fixed point


@pytest.mark.full
def test_sharded_weights_learn_what_whole_ones_do(two, losses_of):
    sharded = losses_of("engine.strategy=fsdp2", processes=2)
    assert furthest(two, sharded) < 1e-9
    assert_same_weights(sharded[1], two[1])


def assert_same_weights(run, other):
    ours, theirs = (storage.load(folder / "last.safetensors")[0] for folder in (run, other))
    assert ours.keys() == theirs.keys()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.full
def test_one_process_two_and_two_that_shard_learn_the_same_for_50_updates(losses_of):
    alone, two = losses_of(epochs=17), losses_of(processes=2, epochs=17)
    sharded = losses_of("engine.strategy=fsdp2", processes=2, epochs=17)
    assert furthest(alone, two) < 1e-9
    assert furthest(two, sharded) < 1e-9
    assert_same_weights(sharded[1], two[1])


@pytest.mark.full
def test_accumulated_steps_learn_what_a_whole_batch_does(alone, losses_of):
    assert furthest(alone, losses_of("data.device_batch_size=3", epochs=3)) < 1e-9


@pytest.mark.full
def test_three_processes_that_accumulate_with_recomputed_activations_learn_the_same(alone, losses_of):
    settings = ["data.device_batch_size=2", "model.gradient_checkpointing=true"]
    assert furthest(alone, losses_of(*settings, processes=3)) < 1e-9
    assert furthest(alone, losses_of(*settings, "engine.strategy=fsdp2", processes=2)) < 1e-9


@pytest.mark.full
def test_a_run_goes_on_with_other_numbers_of_processes_and_says_so(images, tmp_path):
    """Begun by two that shard, continued by one, and by two that do not: the same images in the same updates."""
    run = tmp_path / "run"
    words = [word for s in [*SETTINGS, *EXACT, "optimization.epochs=6"] for word in ("--set", s)]
    start(tmp_path / "whole", "train", images, *words, "--out", tmp_path / "never-stopped", processes=1)
    config = run / "config.yaml"
    for epochs, strategy, processes in ((2, "fsdp2", 2), (4, "fsdp2", 1), (6, "ddp", 2)):
        if config.exists():
            text = config.read_text().replace(f"epochs: {epochs - 2}", f"epochs: {epochs}")
            config.write_text(text.replace("strategy: fsdp2", f"strategy: {strategy}"))
            done = start(tmp_path / f"{epochs}", "train", "--resume", run, processes=processes)
            assert f"devices: {3 - processes} before, {processes} now" in done.stderr
        else:
            done = start(tmp_path / "2", "train", images, *words, "--set", "optimization.epochs=2", "--set",
                         "engine.strategy=fsdp2", "--out", run, processes=2)  # fmt: skip
    found, wanted = Counter(), Counter()
    for folder, total in ((tmp_path / "6", found), (tmp_path / "whole", wanted)):
        for path in folder.iterdir():
            for update, loss in json.loads(path.read_text()):
                total[update] += loss
    assert sorted(found) == list(range(12, 18))
    assert [found[u] for u in range(12, 18)] == pytest.approx([wanted[u] for u in range(12, 18)], abs=1e-9)


def test_the_devices_option_needs_no_torchrun_and_all_stop_together(images, tmp_path):
    run = tmp_path / "run"
    words = [word for s in [*SETTINGS, "optimization.epochs=500"] for word in ("--set", s)]
    program = subprocess.Popen(
        [sys.executable, "-m", "maxvit", "train", str(images), *words, "--devices", "2", "--out", str(run)],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in program.stderr:
        if "epoch 1/" in line:
            break
    program.send_signal(signal.SIGUSR1)
    _, err = program.communicate(timeout=120)
    assert program.returncode == 75, err
    assert err.count("stopped; continue with: maxvit train --resume") == 1  # one of them talks
    state = read_state(find_states(run)[0])
    assert state["setting"]["devices"] == 2
    assert state["learner"]["updates"] == state["position"]["epoch"] * 3 + state["position"]["update"]


@pytest.mark.full
@pytest.mark.parametrize("workers", [0, 1])
def test_a_signal_to_one_process_or_to_all_of_a_group_stops_all(images, tmp_path, workers):
    """As Slurm and systemd send it: to every process, those that read images included."""
    run = tmp_path / "run"
    words = [word for s in [*SETTINGS, "optimization.epochs=500", f"data.workers={workers}"] for word in ("--set", s)]
    program = subprocess.Popen(
        [sys.executable, "-m", "maxvit", "train", str(images), *words, "--out", str(run)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in program.stderr:
        if "epoch 1/" in line:
            break
    os.killpg(program.pid, signal.SIGTERM)
    _, err = program.communicate(timeout=120)
    assert program.returncode == 75, err
    assert "stopped; continue with" in err


@pytest.mark.full
def test_one_validation_image_is_enough_for_two_processes(images, tmp_path):
    rows = [f"{p},{p.parent.name},{'val' if i == 3 else 'train'}" for i, p in enumerate(sorted(images.rglob("*.png")))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    words = [word for s in SETTINGS for word in ("--set", s)]
    command = ["train", tmp_path / "list.csv", *words, "--out", tmp_path / "run"]
    start(tmp_path / "losses", *command, processes=2)
    start(tmp_path / "losses", *command[:-1], tmp_path / "sharded", "--set", "engine.strategy=fsdp2", processes=2)


@pytest.mark.full
def test_what_one_process_cannot_write_ends_both_with_a_sentence(images, tmp_path, capfd):
    (tmp_path / "file").write_text("no folder")
    words = [word for s in SETTINGS for word in ("--set", s)]
    assert main(["train", str(images), *words, "--devices", "2", "--out", str(tmp_path / "file" / "run")]) == 2
    err = capfd.readouterr().err
    assert "cannot write" in err
    assert "Traceback" not in err


@pytest.mark.full
def test_a_failure_of_the_processes_is_that_of_the_command(tmp_path, capfd):
    words = ["train", str(tmp_path / "nowhere"), "--devices", "2", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    assert "nowhere does not exist: check the path" in capfd.readouterr().err


def test_alone_a_process_agrees_with_itself():
    engine = Engine(EngineSection())
    assert engine.agree(Flag.STOP | Flag.SAVE) == Flag.STOP | Flag.SAVE
    assert engine.gather("a") == ["a"]
    assert engine.share(64, None) == Share(0, 1, 1, 1)
    assert engine.share(64, 20).accumulate == 4


def test_what_only_gpus_can_is_refused_without_one():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MaxViTError, match=r"engine\.sync_batch_norm needs GPUs"):
        Engine(EngineSection(sync_batch_norm=8))


def test_fewer_images_than_devices_are_refused():
    engine = Engine(EngineSection())
    engine.world = 3
    with pytest.raises(MaxViTError, match=r"data\.batch_size is 2 for 3 devices"):
        engine.share(2, None)

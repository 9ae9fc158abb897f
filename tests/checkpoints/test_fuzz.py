"""Damaged checkpoints of every format: a network, or one sentence; nothing else, nothing run, no memory."""

import os
import resource
import shutil

import mutations
import numpy as np
import pytest
import torch
from torchvision.models.maxvit import MaxVit

from maxvit import MaxViT, MaxViTConfig, MaxViTError, load_model
from maxvit.checkpoints.timm import save_for_timm, to_timm
from official import CHECKPOINT

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(4, 4, 4, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(64, 64),
    window_size=(2, 2), grid_size=(2, 2),
)  # fmt: skip
INDEX = "model.ckpt-93600.index"
DATA = "model.ckpt-93600.data-00000-of-00001"
WAYS = {
    "ours.safetensors": [mutations.some_bytes, mutations.header, mutations.description, mutations.description],
    "timm.safetensors": [mutations.some_bytes, mutations.header],
    "timm.pth": [mutations.some_bytes, mutations.archive],
    "torchvision.pth": [mutations.some_bytes, mutations.archive],
    "old.pth": [mutations.pickled],
    INDEX: [mutations.some_bytes],
    DATA: [mutations.some_bytes],
}
SHARES = (0.35, 0.15, 0.15, 0.15, 0.1, 0.09, 0.01)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """One of each format, small."""
    folder = tmp_path_factory.mktemp("checkpoints")
    model = MaxViT(CONFIG, class_names=["a", "b", "c"])
    model.save(folder / "ours.safetensors")
    save_for_timm(model, folder / "timm.safetensors")
    torch.save(to_timm(model.state_dict(), CONFIG), folder / "timm.pth")
    torch.save(to_timm(model.state_dict(), CONFIG), folder / "old.pth", _use_new_zipfile_serialization=False)
    theirs = MaxVit((64, 64), 4, 2, [4, 4, 4, 8], [1, 1, 1, 1], head_dim=4, stochastic_depth_prob=0.0, num_classes=3)
    torch.save(theirs.state_dict(), folder / "torchvision.pth")
    for name in (INDEX, DATA):
        shutil.copy(CHECKPOINT / name, folder)
    return folder


def load_damaged(checkpoints, folder, random):
    """Damage one of them, load it; what came of it."""
    name = str(random.choice(list(WAYS), p=SHARES))
    ways = WAYS[name]
    way = ways[int(random.integers(len(ways)))]
    damaged = way((checkpoints / name).read_bytes(), random)
    (folder / name).write_bytes(damaged)
    if name in (INDEX, DATA):
        other = INDEX if name == DATA else DATA
        (folder / other).symlink_to(checkpoints / other)
    try:
        load_model(folder / name)
        return "a network"
    except MaxViTError:
        return "a sentence"
    except Exception as error:
        raise AssertionError(f"{name}, {way.__name__}: {type(error).__name__}: {error}") from error


def fuzz(checkpoints, folder, monkeypatch, seed, cases):
    monkeypatch.chdir(folder)  # where a canary would appear
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for case in range(cases):
        outcomes.append(load_damaged(checkpoints, folder, np.random.default_rng([seed, case])))
        left = {path.name for path in folder.iterdir()}
        assert left <= WAYS.keys(), (seed, case)
        for name in left:
            os.unlink(folder / name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kilobytes
    assert outcomes.count("a sentence") > cases / 2
    assert outcomes.count("a network") > cases / 50  # where the damage hit a weight, or something that is not read


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_checkpoint_is_a_network_or_a_sentence(checkpoints, tmp_path, monkeypatch, seed):
    fuzz(checkpoints, tmp_path, monkeypatch, seed, 50)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(100, 120))
def test_thousands_of_damaged_checkpoints_are_networks_or_sentences(checkpoints, tmp_path, monkeypatch, seed):
    fuzz(checkpoints, tmp_path, monkeypatch, seed, 500)


def test_undamaged_ones_are_all_networks(checkpoints):
    for name in WAYS:
        assert isinstance(load_model(checkpoints / name), MaxViT)

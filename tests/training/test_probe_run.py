"""A run that begins with a probe: epoch 0 is a checkpoint, which epochs must be better than."""

import sys

import pytest
import torch

from maxvit import load_model
from maxvit.errors import MaxViTError
from maxvit.training.files import best_epoch, read_metrics
from maxvit.training.run import train
from small import write_images


def test_the_probe_alone_is_a_checkpoint_that_predicts(small_recipe, tmp_path):
    outcome = train(small_recipe("model.probe=true", "optimization.epochs=0"), tmp_path / "run")
    (row,) = read_metrics(outcome.run)
    assert row["epoch"] == 0
    assert row["val_accuracy"] == 1
    assert load_model(outcome.best).inner_head is not None


def test_epochs_that_are_worse_do_not_take_its_place(small_recipe, tmp_path):
    recipe = small_recipe("model.probe=true", "optimization.learning_rate=3", "optimization.grad_clip_norm=1e9")
    outcome = train(recipe, tmp_path / "run")
    rows = read_metrics(outcome.run)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert best_epoch(recipe, rows) == 0
    assert load_model(outcome.best).provenance["epoch"] == 0


def test_it_is_the_same_again(small_recipe, tmp_path):
    runs = [
        train(small_recipe("model.probe=true", "optimization.epochs=1"), tmp_path / name) for name in ("one", "two")
    ]
    one, two = (load_model(run.run / "last.safetensors").state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_without_scikit_learn_training_begins_without(small_recipe, tmp_path, monkeypatch, capsys):
    (tmp_path / "parts").mkdir()
    for part in ("train", "val"):
        write_images(tmp_path / "parts" / part)
    recipe = small_recipe("model.probe=true", "optimization.epochs=1", f"data.path={tmp_path / 'parts'}")
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    outcome = train(recipe, tmp_path / "run", show_progress=True)
    assert [row["epoch"] for row in read_metrics(outcome.run)] == [1]
    assert (
        "no first verdict: sklearn.linear_model is not installed: pip install 'maxvit[train]'"
        in capsys.readouterr().err
    )


def test_without_a_probe_there_must_be_an_epoch(small_recipe, tmp_path):
    with pytest.raises(MaxViTError, match=r"epochs is 0, and there is no probe, as the recipe has model.probe false"):
        train(small_recipe("optimization.epochs=0"), tmp_path / "run")

"""A run that begins with a probe: epoch 0 is a checkpoint, which epochs must be better than."""

import os
import signal
import sys

import pytest
import torch

from maxvit import load_model
from maxvit.errors import MaxViTError
from maxvit.training.files import best_epoch, read_metrics
from maxvit.training.run import resume, train
from maxvit.training.suspicious_labels import read_suspicious
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
        "no first verdict: it needs sklearn, which is not installed: pip install 'maxvit[train]'"
        in capsys.readouterr().err
    )


def test_without_a_probe_there_must_be_an_epoch(small_recipe, tmp_path):
    with pytest.raises(
        MaxViTError, match=r"no first verdict: the recipe has model.probe false; and optimization.epochs is 0"
    ):
        train(small_recipe("optimization.epochs=0"), tmp_path / "run")


def test_a_run_that_is_stopped_in_it_goes_on_and_is_the_same(small_recipe, tmp_path, monkeypatch):
    recipe = small_recipe("model.probe=true", "optimization.epochs=1")

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr("maxvit.tasks.classification.linear.fit_logistic", stop)
        outcome = train(recipe, tmp_path / "stopped")
    assert (outcome.finished, outcome.signal) == (False, signal.SIGTERM)
    runs = [train(recipe, tmp_path / "whole").run, resume(outcome.run).run]
    one, two = (load_model(run / "last.safetensors").state_dict() for run in runs)
    assert all(torch.equal(one[name], two[name]) for name in one)
    one, two = (read_suspicious(run) for run in runs)
    assert one == two
    assert one is not None


def with_broken(folder, number):
    """Images in two parts; so many of the 24 of training cannot be read."""
    for part in ("train", "val"):
        write_images(folder / part)
    for path in sorted((folder / "train" / "red").iterdir())[-number:]:
        path.write_bytes(b"not an image")
    return f"data.path={folder}"


def test_images_that_it_cannot_read_are_named(small_recipe, tmp_path):
    (tmp_path / "data").mkdir()
    place = with_broken(tmp_path / "data", 2)
    outcome = train(small_recipe(place, "model.probe=true", "optimization.epochs=0"), tmp_path / "run")
    assert [sentence.rpartition("/")[2] for sentence in outcome.skipped] == [
        f"{name}.png is not an image that can be read" for name in (6, 7)
    ]


def test_too_many_that_it_cannot_read_end_the_run(small_recipe, tmp_path):
    (tmp_path / "data").mkdir()
    place = with_broken(tmp_path / "data", 3)
    with pytest.raises(MaxViTError, match=r"max_unreadable_fraction \(10%\) of the images cannot be read; 3 of 24"):
        train(small_recipe(place, "model.probe=true", "optimization.epochs=0"), tmp_path / "run")

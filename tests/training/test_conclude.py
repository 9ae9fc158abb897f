"""What a run adds to its best network after the last epoch, and that it can be interrupted there."""

import os
import signal

import pytest
import torch

from maxvit import MaxViTError, load_model, storage
from maxvit.tasks.classification import Classification
from maxvit.training.recipe import load_recipe
from maxvit.training.run import resume, train, train_or_resume
from small import SETTINGS, write_images


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("data") / "colours", 32)
    settings = ["optimization.epochs=1", "data.val_fraction=0.3", "data.batch_size=32"]
    return load_recipe("folder", [f"data.path={folder}", *SETTINGS, *settings])


@pytest.fixture(scope="module")
def unbroken(recipe, tmp_path_factory):
    run = tmp_path_factory.mktemp("unbroken")
    train(recipe, run)
    return run


def contents(path):
    state, metadata = storage.load(path)
    origin = {name: value for name, value in metadata["provenance"].items() if name not in ("date", "command")}
    return state, {**metadata, "provenance": origin}


def test_the_best_network_knows_images_of_none_of_the_classes_and_the_run_is_finished(unbroken, recipe):
    best = load_model(unbroken / "best.safetensors")
    assert best.config.novelty_centres == 3
    assert load_model(unbroken / "last.safetensors").novelty is None
    with pytest.raises(MaxViTError, match=r"is finished: it has done all of its epochs \(1\)"):
        resume(unbroken)
    assert train_or_resume(recipe, unbroken).finished


@pytest.mark.parametrize("how", ["signal", "kill"])
def test_a_run_that_is_interrupted_there_goes_on_and_ends_with_the_same_file(
    how, unbroken, recipe, tmp_path, monkeypatch
):
    original = Classification.conclude

    def interrupted(self, network, data, workers, between):
        if how == "kill":
            raise SystemExit(9)  # what is not handled ends the process
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, network, data, workers, between)

    run = tmp_path / "run"
    monkeypatch.setattr(Classification, "conclude", interrupted)
    if how == "kill":
        with pytest.raises(SystemExit):
            train(recipe, run)
    else:
        outcome = train(recipe, run)
        assert (outcome.finished, outcome.signal) == (False, signal.SIGTERM)
    assert load_model(run / "best.safetensors").novelty is None
    monkeypatch.undo()
    assert resume(run).finished
    (state, said), (wanted, wanted_said) = (contents(place / "best.safetensors") for place in (run, unbroken))
    assert said == wanted_said
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in state)


def test_too_few_validation_images_are_said(finished):
    assert "predictions cannot say 'none of these', which takes 19 validation images: there are 5" in finished.stderr
    assert storage.load_metadata(finished.run / "best.safetensors")["provenance"]["concluded"]

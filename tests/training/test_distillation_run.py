"""A run that learns from a teacher: the same where it is resumed, and refused before it begins."""

import re
import shutil

import pytest
import torch

from maxvit import load_model, storage
from maxvit.errors import MaxViTError
from maxvit.training.choose import choose_recipe
from maxvit.training.learner import Learner
from maxvit.training.recipe import load_recipe
from maxvit.training.run import resume, train
from small import SETTINGS


@pytest.fixture(scope="module")
def stopped(finished, images, tmp_path_factory):
    """A run of three updates that ended after one, and the same run that did not."""
    settings = [*SETTINGS, f"data.path={images}", "optimization.epochs=1", "checkpoints.every_updates=1"]
    recipe = load_recipe("folder", [*settings, f"model.teacher={finished.run / 'best.safetensors'}"])
    runs, original = [tmp_path_factory.mktemp(name) / "run" for name in ("broken", "whole")], Learner.update

    def fail(self):
        if self.updates == 1:
            raise KeyError("as if killed")
        return original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "update", fail)
        with pytest.raises(KeyError):
            train(recipe, runs[0])
    train(recipe, runs[1])
    return runs


def test_a_run_that_goes_on_is_the_run_that_never_stopped(stopped, tmp_path):
    run = shutil.copytree(stopped[0], tmp_path / "run")
    assert resume(run).finished
    ours, wanted = (storage.load(folder / "last.safetensors")[0] for folder in (run, stopped[1]))
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_a_run_that_goes_on_with_another_teacher_says_so(stopped, finished, tmp_path, capsys):
    run, other = shutil.copytree(stopped[0], tmp_path / "run"), tmp_path / "other.safetensors"
    network = load_model(finished.run / "best.safetensors")
    network.head.classifier.bias.data += 1
    network.save(other)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(finished.run / "best.safetensors"), str(other)))
    assert resume(run, show_progress=True).finished
    assert re.search(r"teacher: \w{64} before, \w{64} now: it goes on at the same image", capsys.readouterr().err)


def test_the_checkpoint_names_the_teacher_and_holds_nothing_of_it(stopped, finished):
    network = load_model(stopped[1] / "best.safetensors")
    assert network.provenance["recipe"]["model"]["teacher"] == str(finished.run / "best.safetensors")
    assert set(storage.load(stopped[1] / "best.safetensors")[0]) == set(network.state_dict())


def test_a_teacher_of_other_classes_is_refused_before_training(finished, small_recipe, images, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("blue", "red"):
        (tmp_path / "data" / name).symlink_to(images / name)
    recipe = small_recipe(f"data.path={tmp_path / 'data'}", f"model.teacher={finished.run / 'best.safetensors'}")
    with pytest.raises(MaxViTError, match=r"only the teacher has green \(1\)"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_teacher_without_an_epoch_is_refused(small_recipe, tmp_path):
    recipe = small_recipe("optimization.epochs=0", "model.probe=true", "model.teacher=large.safetensors")
    with pytest.raises(MaxViTError, match=r"epochs is 0, and model\.teacher is large\.safetensors"):
        train(recipe, tmp_path / "run")


def test_the_teacher_that_is_asked_for_is_the_recipes():
    choice = choose_recipe("photos", choices={"teacher": "runs/a b/best.safetensors"})
    assert load_recipe(choice.recipe, choice.overrides).model.teacher == "runs/a b/best.safetensors"

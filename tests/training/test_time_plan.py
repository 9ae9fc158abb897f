"""As much of a recipe as there is time for."""

import gzip
import os
import signal

import pytest
import torch

from maxvit import storage
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.training.files import read_metrics, read_recipe
from maxvit.training.recipe import load_recipe
from maxvit.training.run import IMAGES, resume, train, train_or_resume
from maxvit.training.setup import limited
from maxvit.training.time_plan import Plan, Speed, plan_for


def images(number):
    return LabelledImages([b""] * number, list(range(number)), ["one"], [str(i) for i in range(number)])


def planned(seconds, train=1000, epochs=100, probe="false"):
    recipe = load_recipe("folder", [f"optimization.epochs={epochs}", f"model.probe={probe}"])
    data = Splits(images(train), images(train // 4))
    return plan_for(recipe, Speed(0.01, 0.002), data, seconds)


def test_with_time_enough_all_of_it_is_done():
    plan = planned(1e5)
    assert plan.recipe.optimization.epochs == 100
    assert plan.recipe.data.limit is None
    assert plan.said == "planned for the time: 100 of 100 epochs"


def test_with_less_there_are_fewer_epochs_with_as_large_a_share_to_warm_up():
    plan = planned(300)  # 240 s, of which an epoch takes 10.5
    assert plan.recipe.optimization.epochs == 22
    assert plan.recipe.optimization.warmup_epochs == pytest.approx(5 * 22 / 100)
    assert plan.said == "planned for the time: 22 of 100 epochs"


def test_with_little_there_are_fewer_images():
    plan = planned(60)
    assert plan.recipe.optimization.epochs == 4
    assert 500 < plan.recipe.data.limit < 1000
    assert plan.said.startswith("planned for the time: 4 of 100 epochs, with ")
    assert plan.said.endswith(" of 1,000 training images")


def test_with_a_probe_there_are_fewer_epochs_and_all_images():
    plan = planned(40, probe="true")
    assert plan.recipe.optimization.epochs < 4
    assert plan.recipe.data.limit is None


def test_a_probe_takes_time_too():
    assert planned(240, probe="true").recipe.optimization.epochs < planned(240).recipe.optimization.epochs


def test_the_probe_alone_stays_alone():
    assert planned(300, epochs=0, probe="true").recipe.optimization.epochs == 0


def test_however_little_there_are_images_to_learn_from():
    assert planned(1).recipe.data.limit == 32


def test_few_images_are_all_used():
    plan = planned(1, train=10)
    assert load_recipe("folder", [f"data.limit={plan.recipe.data.limit}"]).data.limit >= 10
    assert plan.said == "planned for the time: 4 of 100 epochs"


def test_however_small_a_limit_is_there_is_an_image_to_validate_by():
    data = limited(Splits(images(2), images(3), images(3)), 2, seed=1)
    assert [len(part) for part in (data.train, data.val, data.test)] == [2, 1, 1]


def test_a_limit_draws_the_same_images_again_and_a_quarter_as_many_to_validate_by():
    data = Splits(images(100), images(50), images(60))
    one, two = limited(data, 40, seed=1), limited(data, 40, seed=1)
    assert [len(part) for part in (one.train, one.val, one.test)] == [40, 10, 10]
    assert one.train.labels == two.train.labels != limited(data, 40, seed=2).train.labels


def test_a_run_is_planned_and_its_recipe_says_how(small_recipe, tmp_path):
    recipe = small_recipe("optimization.minutes=0.2", "optimization.epochs=1000", "optimization.warmup_epochs=500")
    outcome = train(recipe, tmp_path / "run")
    done = read_recipe(outcome.run).optimization
    assert outcome.finished
    assert (done.epochs, done.warmup_epochs) == (4, 2)
    assert train_or_resume(recipe, outcome.run).finished  # what was planned is not another recipe


def test_where_time_is_up_it_ends_and_can_go_on(small_recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("maxvit.training.run.plan_for", lambda recipe, *_: Plan(recipe, 0.0, "planned"))
    recipe = small_recipe("optimization.minutes=0.0001", "optimization.epochs=3")
    outcome = train(recipe, tmp_path / "run", show_progress=True)
    assert outcome.finished
    assert "time is up after 1 of 3 epochs" in capsys.readouterr().err
    resume(outcome.run)
    assert [row["epoch"] for row in read_metrics(outcome.run)] == [1, 2, 3]


def test_an_epoch_that_takes_too_long_is_given_up_where_there_is_a_checkpoint(small_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("maxvit.training.run.plan_for", lambda recipe, *_: Plan(recipe, 0.0, "planned"))
    monkeypatch.setattr("maxvit.training.loop.Loop._epoch_would_be_late", lambda *_: False)
    recipe = small_recipe("optimization.minutes=0.0001", "optimization.epochs=2", "model.probe=true")
    outcome = train(recipe, tmp_path / "run")
    assert [row["epoch"] for row in read_metrics(outcome.run)] == [0]
    resume(outcome.run)
    assert [row["epoch"] for row in read_metrics(outcome.run)] == [0, 1, 2]


def test_a_run_that_is_stopped_before_it_trains_keeps_its_plan_and_its_images(small_recipe, tmp_path, monkeypatch):
    """Though fewer images were planned for than the limit that a person gave."""

    def plan(recipe, *_):
        changes = {"data": recipe.data.model_copy(update={"limit": 9})}
        return Plan(recipe.model_copy(update=changes), 0.0, "planned")

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    recipe = small_recipe("optimization.minutes=9", "optimization.epochs=1", "data.limit=15")
    with monkeypatch.context() as patched:
        patched.setattr("maxvit.training.run.plan_for", plan)
        whole = train(recipe, tmp_path / "whole").run
        patched.setattr("maxvit.training.run.begin_with_probe", stop)
        stopped = train(recipe, tmp_path / "stopped")
    assert not stopped.finished
    record = (stopped.run / IMAGES).read_bytes()
    assert resume(stopped.run).finished
    assert gzip.decompress((stopped.run / IMAGES).read_bytes()) == gzip.decompress(record)
    assert gzip.decompress((whole / IMAGES).read_bytes()) == gzip.decompress(record)
    one, two = (storage.load(run / "last.safetensors")[0] for run in (whole, stopped.run))
    assert all(torch.equal(one[name], two[name]) for name in one)

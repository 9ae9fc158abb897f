"""Which epoch is the best: by the task's first metric, or by the one that is asked for."""

import csv

import pytest

import maxvit
from every_task import TASKS, network_of
from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.tasks import make_task
from maxvit.training.files import METRICS, RunFiles, best_epoch, monitor, read_metrics
from maxvit.training.recipe import load_recipe
from maxvit.training.setup import check_metric
from maxvit.training.trackers.several import Trackers

ROWS = [
    {"epoch": 1, "val_accuracy": 0.9, "val_f1_macro": 0.3, "val_auc": float("nan"), "val_loss": 1.0},
    {"epoch": 2, "val_accuracy": 0.8, "val_f1_macro": 0.5, "val_auc": 0.6, "val_loss": 0.4},
    {"epoch": 3, "val_accuracy": 0.7, "val_f1_macro": 0.5, "val_auc": 0.5, "val_loss": 0.2},
]


def recipe(*overrides):
    return load_recipe("folder", ["optimization.metric=null", *overrides])


@pytest.mark.parametrize(("metric", "best"), [("null", 1), ("accuracy", 1), ("f1_macro", 3), ("auc", 2), ("loss", 3)])
def test_the_metric_that_is_asked_for_chooses(metric, best):
    """Among equal ones the lower loss; what is no number is worse than any; of losses the lowest."""
    assert best_epoch(recipe(f"optimization.metric={metric}"), ROWS) == best


@pytest.mark.parametrize(
    ("held_out", "loss", "best"), [(25, 0.81, 0), (25, 0.79, 1), (2500, 0.981, 0), (2500, 0.979, 1)]
)
def test_an_epoch_must_be_better_than_the_first_verdict_by_more_than_chance(held_out, loss, best):
    rows = [
        {"epoch": 0, "held_out": held_out, "val_loss": 1.0},
        {"epoch": 1, "held_out": float("nan"), "val_loss": loss},
    ]
    assert best_epoch(recipe("optimization.metric=loss"), rows) == best


def test_epochs_among_themselves_need_no_margin():
    rows = [
        {"epoch": 0, "held_out": 25, "val_loss": 1.0},
        *({"epoch": i, "val_loss": 0.7 - i / 1000} for i in (1, 2, 3)),
    ]
    assert best_epoch(recipe("optimization.metric=loss"), rows) == 3


def test_a_task_says_of_which_metrics_the_lowest_is_the_best():
    rows = [{"epoch": 1, "val_srcc": 0.5, "val_emd": 0.1}, {"epoch": 2, "val_srcc": 0.6, "val_emd": 0.2}]
    assert best_epoch(recipe("task.name=aesthetics", "optimization.metric=emd"), rows) == 1
    assert best_epoch(recipe("task.name=aesthetics"), rows) == 2


def test_without_an_epoch_there_is_no_best_one():
    assert best_epoch(recipe(), []) == 0


@pytest.mark.parametrize("name", TASKS)
def test_every_task_says_what_can_choose_before_training(name):
    network_of(name)  # a module of the user's is then on the path
    settings, class_names, _ = TASKS[name]
    task = make_task({"name": name, **settings})
    images = LabelledImages(["a"], [0], class_names, ["a"])
    first, *others = task.choosers(images)
    for known in (first, others[-1]):
        check_metric(recipe(f"optimization.metric={known}"), task, images)
    with pytest.raises(MaxViTError, match=rf"optimization.metric is 'recall'; validation measures {first}, "):
        check_metric(recipe("optimization.metric=recall"), task, images)


def test_training_from_python_takes_the_metric_too(images, tmp_path):
    with pytest.raises(MaxViTError, match=r"optimization.metric is 'f1'; validation measures accuracy, "):
        maxvit.train(images, out=tmp_path / "run", metric="f1", show_progress=False)
    assert not (tmp_path / "run").exists()


def test_rows_of_an_older_version_may_lack_a_metric(tmp_path):
    files = RunFiles(tmp_path, recipe(), {}, Trackers())
    files.set_state({"rows": [{"epoch": 1, "val_accuracy": 0.5}, {"epoch": 2, "val_accuracy": 0.6, "val_auc": 0.7}]})
    with (tmp_path / METRICS).open() as file:
        assert list(csv.reader(file)) == [
            ["epoch", "val_accuracy", "val_auc"],
            ["1", "0.5", "nan"],
            ["2", "0.6", "0.7"],
        ]
    assert monitor(recipe(), read_metrics(tmp_path)) == "accuracy"

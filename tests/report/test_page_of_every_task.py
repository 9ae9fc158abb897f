"""The report of a run of each task, of a user's too: one page, with the sections that the task has something for."""

import re

import pytest

from every_task import COUNTING, OTHERS, TASKS, network_of, write_data
from maxvit.report.run import report_run
from maxvit.tasks import make_task
from maxvit.training.recipe import load_recipe

pytest.importorskip("segmentation_models_pytorch")
pytest.importorskip("pycocotools")
pytest.importorskip("scipy")

HEADER = "epoch,train_loss,val_{},val_loss,learning_rate,images_per_second,seconds\n"
ALWAYS = ["result", "curves", "samples", "configuration"]
SECTIONS = {
    "classification": {"mistakes", "confusion", "calibration", "classes"},
    "segmentation": {"confusion", "classes"},
    "detection": {"classes"},
    "aesthetics": set(),
    "regression": {"mistakes", "scatter"},
    "masked": set(),
    COUNTING: set(),
}


@pytest.fixture(scope="module", params=TASKS)
def reported(request, tmp_path_factory):
    """The task's name, its page, and what it shows: of a run folder that holds a network as it was made."""
    folder, name = tmp_path_factory.mktemp("task"), request.param
    data = write_data(name, folder)
    run = folder / "run"
    run.mkdir()
    overrides = [f"data.path={data}", "optimization.epochs=2", "optimization.metric=null", f"task.name={name}"]
    recipe = load_recipe("folder", [*overrides, *(f"task.{key}={value}" for key, value in TASKS[name][0].items())])
    task = make_task(recipe.task)
    names = task.load(str(data), 0.2, 0).train.class_names
    monitor = next(iter(task.val_metric(names).compute()))
    network_of(name, names=names).save(run / "best.safetensors")
    (run / "config.yaml").write_text(recipe.to_yaml())
    (run / "metrics.csv").write_text(HEADER.format(monitor) + "1,2.5,0.25,2.25,1e-3,7,3\n2,1.5,0.5,1.25,1e-4,7,3\n")
    path, report = report_run(run)
    return name, path.read_text(encoding="utf-8"), report


def test_the_page_has_the_sections_that_the_task_has_something_for(reported):
    name, page, _ = reported
    found = re.findall(r'<section aria-labelledby="(\w+)">', page)
    assert [section for section in found if section in ALWAYS] == ALWAYS
    assert set(found) - set(ALWAYS) == SECTIONS[name]
    assert set(re.findall(r'<a href="#(\w+)">', page)) == set(found) - {"result"}


def test_every_metric_stands_on_the_page_with_its_interval_where_there_is_one(reported):
    _, page, report = reported
    assert report.result.metrics
    assert all(f'<dd id="{name}">' in page for name in report.result.metrics)
    assert page.count("confidence interval") == len(report.intervals)


def test_the_metric_that_chose_the_best_epoch_has_a_curve(reported):
    _, page, report = reported
    best = 1 if report.monitor in report.result.task.lower_is_better else 2
    assert report.facts["epochs"] == f"2 of 2, best {best} by {report.monitor.replace('_', ' ')}"
    assert re.findall(r'aria-label="([\w ]+) over the epochs"', page) == [
        "Loss",
        report.monitor.replace("_", " "),
        "Learning rate",
    ]


def test_samples_show_target_and_prediction_in_pictures_or_in_words(reported):
    name, page, report = reported
    assert 1 < len(report.samples) <= 6
    both = ["target", "prediction"] if name in ("segmentation", "detection", "aesthetics") else []
    drawn = ["masked", "reconstruction"] if name == "masked" else both
    for sample in report.samples:
        assert list(sample.pictures) == ["image", *drawn]
        assert {picture.size for picture in sample.pictures.values()} == {sample.pictures["image"].size}
        assert list(sample.words) == (["prediction"] if drawn else ["prediction", "target"])
        assert sample.words["prediction"] in page


def test_attention_is_shown_of_every_stage_that_the_head_sees_and_rollout_where_there_is_a_class(reported):
    name, page, report = reported
    ways = {"block", "grid"} | ({"rollout"} if name not in OTHERS else set())
    for sample in report.samples:
        assert {m.axis for m in sample.maps} == ways
        assert {m.stage for m in sample.maps} == ({1, 2, 3} if name == COUNTING else {1, 2, 3, 4})
    assert page.count("attention of stage 1 over") == 2 * len(report.samples)
    assert ("<b>Rollout:</b>" in page) == ("rollout" in ways)


def test_the_headline_and_the_sentence_for_a_paper_begin_with_the_first_metric(reported):
    _, _, report = reported
    first = next(iter(report.result.metrics)).replace("_", " ")
    assert report.headline.startswith(f"{first} ")
    assert report.evaluated_on in report.headline
    assert f"maxvit_micro at 64 x 64, {first} " in report.summary

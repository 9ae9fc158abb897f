import shutil

import pytest
import torch

from maxvit import Predictor, load_model
from maxvit.errors import MaxViTError
from maxvit.report.run import report_run
from maxvit.training.setup import load_data


@pytest.fixture(scope="module")
def reported(finished, tmp_path_factory):
    """A copy of the finished run whose network says the opposite, its page, and what the page shows."""
    run = shutil.copytree(finished.run, tmp_path_factory.mktemp("reported") / "run")
    network = load_model(run / "best.safetensors")
    with torch.no_grad():
        network.head.classifier.weight.neg_()
    network.save(run / "best.safetensors")
    return run, *report_run(run)


def test_the_report_of_a_run_is_in_its_folder(reported):
    run, page, _ = reported
    assert page == run / "report.html"
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_mistakes_shown_are_the_images_that_the_checkpoint_gets_wrong(reported, finished, images):
    run, page, report = reported
    val = load_data(finished.recipe).val
    wrong = {}
    for said in Predictor(run / "best.safetensors")(val.sources):  # one by one, without the evaluation
        path = next(p for p in val.sources if str(p) == said.name)
        (first, *_), target = said.to_json()["classes"], path.parent.name
        if first["class"] != target:
            confidence = pytest.approx(first["probability"], rel=1e-4)
            wrong[str(path.relative_to(images))] = (target, first["class"], confidence)
    assert wrong
    shown = {}
    for mistake in report.panels.mistakes.worst:
        prediction, target = mistake.classes
        shown[report.pictures[mistake.row].name] = (target.classes[0][0], *prediction.classes[0])
    assert shown == wrong
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in wrong)


def test_the_most_confident_mistake_comes_first(reported):
    confidences = [mistake.classes[0].classes[0][1] for mistake in reported[2].panels.mistakes.worst]
    assert confidences == sorted(confidences, reverse=True)


def test_each_class_is_explained_once(reported):
    assert sorted(sample.words["target"] for sample in reported[2].samples) == ["blue", "green", "red"]
    assert all({m.axis for m in sample.maps} == {"block", "grid", "rollout"} for sample in reported[2].samples)


def test_without_a_test_folder_the_report_says_that_it_evaluates_on_validation(reported, finished):
    number = len(load_data(finished.recipe).val)
    assert reported[2].evaluated_on == f"{number} held-out images (validation: they chose the best epoch)"


def test_the_facts_are_those_of_the_run(reported, images):
    facts = reported[2].facts
    assert facts["data"] == images.name
    assert facts["image size"] == "32 x 32"
    assert facts["epochs"].startswith("2 of 2, best ")


def test_a_folder_without_a_run_has_no_report(tmp_path):
    with pytest.raises(MaxViTError, match=r"is not a run folder: it has no config\.yaml"):
        report_run(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_finished_epoch_has_no_report(finished, tmp_path):
    shutil.copy(finished.run / "config.yaml", tmp_path)
    with pytest.raises(MaxViTError, match="has no finished epoch yet, so there is nothing to report"):
        report_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]

"""Sets of classes: the true class is in them as often as is asked; what is not known is refused, in words."""

import dataclasses
from math import ceil

import numpy as np
import pytest
import torch

from maxvit import MaxViT, MaxViTError, Predictor
from maxvit.config import VARIANTS
from maxvit.tasks import load, make_task, task_for, with_settings
from maxvit.tasks.classification.conformal import COVERAGES, find_thresholds, threshold_for
from maxvit.tasks.classification.temperature import CalibratedMetric

NAMES = ["ant", "bee", "cat"]
THRESHOLDS = find_thresholds(np.linspace(0.98, 0.0, 50))
CONFIG = dataclasses.replace(VARIANTS["maxvit_micro"], num_classes=3, temperature=2.0, set_thresholds=THRESHOLDS)


def draw(images, seed, sharpness=2.5, classes=7):
    """Probabilities of a network that is too sure of itself, and the true classes."""
    random = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(images, classes, generator=random)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    return (sharpness * logits).softmax(1), labels


def calibrated(probabilities, labels):
    metric = CalibratedMetric([str(i) for i in range(probabilities.shape[1])])
    metric.add(list(probabilities), list(labels))
    return metric


def network(**changes):
    torch.manual_seed(0)
    return MaxViT(dataclasses.replace(CONFIG, **changes), class_names=NAMES).eval()


@pytest.mark.parametrize("images", [1, 9, 10, 57, 1000])
def test_a_threshold_is_that_of_so_many_of_the_images_and_one_more(images):
    probabilities = np.random.default_rng(0).permutation(images) / images + 0.5 / images
    found = find_thresholds(probabilities)
    for coverage, threshold in zip(COVERAGES, found, strict=False):
        needed = ceil(round((images + 1) * coverage, 9))
        assert (probabilities >= threshold).sum() == needed
    assert [c for c in COVERAGES if ceil(round((images + 1) * c, 9)) <= images] == list(COVERAGES[: len(found)])


@pytest.mark.parametrize("coverage", [0.6, 0.9, 0.99])
def test_sets_hold_the_true_class_as_often_as_is_asked(coverage):
    held = []
    for seed in range(60):
        metric = calibrated(*draw(300, seed))
        temperature, threshold = metric.compute()["temperature"], threshold_for(metric.set_thresholds(), coverage)
        probabilities, labels = draw(1000, 1000 + seed)
        after = (probabilities.log() / temperature).softmax(1)
        held.append((after[torch.arange(1000), labels] >= threshold).float().mean())
    mean, error = np.mean(held), np.std(held) / 60**0.5
    assert coverage - 3 * error < mean < coverage + 1 / 301 + 3 * error


def test_thresholds_are_of_the_probabilities_after_the_temperature():
    probabilities, labels = draw(500, 0)
    metric = calibrated(probabilities, labels)
    after = (probabilities.double().log() / metric.compute()["temperature"]).softmax(1)
    exact = find_thresholds(after[torch.arange(500), labels].numpy())
    np.testing.assert_allclose(metric.set_thresholds(), exact, rtol=0.03)  # between two temperatures a line is drawn


def test_parts_of_several_processes_give_what_all_images_give():
    probabilities, labels = draw(60, 0)
    merged = CalibratedMetric([str(i) for i in range(7)])
    for part in (slice(0, 23), slice(23, 60), slice(60, 60)):
        merged.merge(calibrated(probabilities[part], labels[part]).state())
    assert merged.set_thresholds() == calibrated(probabilities, labels).set_thresholds()


def test_shares_of_classes_count_as_the_largest():
    probabilities, labels = draw(60, 0)
    shares = torch.nn.functional.one_hot(labels, 7) * 0.6 + 0.4 / 7
    metric = calibrated(probabilities, shares)
    own = (probabilities.log() / metric.compute()["temperature"]).softmax(1)[torch.arange(60), labels]
    np.testing.assert_allclose(metric.set_thresholds(), find_thresholds(own.double().numpy()), rtol=0.03)


def test_a_temperature_that_is_set_has_thresholds_of_its_own():
    task = make_task({"name": "classification", "temperature": 3.0})
    made, metric = network(set_thresholds=()), task.val_metric(NAMES)
    metric.add(list(torch.eye(3).add(0.5).div(2.5)), [torch.tensor(i) for i in range(3)])
    task.settle(made, metric.compute(), metric)
    assert (made.config.temperature, set(made.config.set_thresholds)) == (3, {0.6})


@pytest.mark.parametrize(
    ("probabilities", "line", "members"),
    [
        ([0.50, 0.30, 0.20], "80% set: ant 50.0%, bee 30.0%", ["ant", "bee"]),
        ([0.15, 0.80, 0.05], "80% set: bee 80.0%", ["bee"]),
        ([0.25, 0.25, 0.25], "80% set: ant 25.0%, bee 25.0%, cat 25.0%", NAMES),
        ([0.10, 0.11, 0.12], "80% set: none (highest: cat 12.0%)", []),
    ],
)
def test_a_set_is_a_line_plain_values_and_a_row(probabilities, line, members):
    threshold = threshold_for(THRESHOLDS, 0.8)
    assert 0.15 < threshold < 0.2
    low = [0.0 if p == 0.2 else p for p in probabilities]  # the third of the first row is just out
    prediction = torch.tensor(low)
    task = with_settings(task_for(network()), {"coverage": 0.8, "top_k": 1})
    said = task.to_json(prediction, NAMES)
    assert task.summary(prediction, NAMES) == line
    assert (said["set"], said["coverage"]) == (members, 0.8)
    assert [one["class"] for one in said["classes"]][: len(members)] == members
    assert task.row(prediction, NAMES)["set"] == "|".join(members)
    assert list(task.row(prediction, NAMES)) == ["set", "class_1", "probability_1"]


def test_a_file_keeps_the_thresholds_and_a_predictor_uses_them(tmp_path):
    network().save(tmp_path / "a.safetensors")
    assert load(tmp_path / "a.safetensors").config == CONFIG
    (said,) = Predictor(tmp_path / "a.safetensors", settings={"coverage": 0.8})(np.zeros((32, 32, 3), np.uint8))
    threshold = threshold_for(THRESHOLDS, 0.8)
    classes = said.to_json()["classes"]
    assert said.to_json()["set"] == [one["class"] for one in classes if one["probability"] >= threshold] != []


@pytest.mark.parametrize(
    ("changes", "settings", "sentence"),
    [
        ({}, {"coverage": 0.99}, "this takes 99 validation images, and the network was validated on fewer: .* 0.98 at"),
        ({"set_thresholds": ()}, {"coverage": 0.9}, "no thresholds for it, .* train it again"),
        ({}, {"coverage": 0.9995}, "the highest coverage is 0.999"),
        ({}, {"coverage": 0.3}, "greater than or equal to 0.5"),
        ({}, {"coverage": 0.9, "temperature": 1.0}, "sets are known at temperature 2: leave temperature out"),
        ({"multi_label": True}, {"coverage": 0.9}, r"each class is a question of its own \(multi-label\), and thresh"),
    ],
)
def test_what_is_not_known_is_refused(changes, settings, sentence):
    with pytest.raises(MaxViTError, match=rf"task\.coverage is {settings['coverage']}: .*{sentence}"):
        Predictor(network(**changes), settings=settings)


def test_training_refuses_thresholds_that_it_finds_itself():
    task = make_task({"name": "classification", "set_thresholds": {"temperature": 1, "thresholds": []}})
    with pytest.raises(MaxViTError, match=r"task\.set_thresholds is what training finds .*: leave it out"):
        task.val_metric(NAMES)


def test_a_new_classifier_has_none_of_the_old_one():
    made = network()
    made.reset_classifier(7)
    assert made.config.set_thresholds == ()


@pytest.mark.parametrize("value", [0.5, [1.5], ["a"], [float("nan")]])
def test_thresholds_that_are_none_are_refused(value):
    with pytest.raises(MaxViTError, match=r"set_thresholds is .*; it takes probabilities from 0 to 1"):
        dataclasses.replace(CONFIG, set_thresholds=value)

"""The temperature of a classifier: found in validation, kept in the checkpoint, used by what gives probabilities."""

import dataclasses

import pytest
import torch
from torch.nn.functional import cross_entropy

from maxvit import MaxViT, MaxViTError
from maxvit.config import VARIANTS
from maxvit.tasks import make_task, task_for
from maxvit.tasks.classification.single_label import SingleLabelMetric
from maxvit.tasks.classification.temperature import CalibratedMetric

CONFIG = dataclasses.replace(VARIANTS["maxvit_micro"], num_classes=3, temperature=2.0)


def answers(sharpness, images=4000, classes=5):
    """Logits that are `sharpness` times those by which the labels were drawn."""
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(images, classes, generator=random)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    return logits * sharpness, labels


def found(logits, labels):
    metric = CalibratedMetric(["class"] * logits.shape[1])
    metric.add(list(logits.softmax(1)), list(labels))
    return metric.compute()["temperature"]


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_too_much_confidence_and_too_little(sharpness):
    assert found(*answers(sharpness)) == pytest.approx(sharpness, rel=0.05)


def test_it_has_the_smallest_loss():
    logits, labels = answers(2.3)
    temperature = found(logits, labels)
    here, *beside = (cross_entropy(logits / t, labels) for t in (temperature, 0.95 * temperature, 1.05 * temperature))
    assert here < min(beside)


def test_it_makes_confidence_as_high_as_accuracy():
    logits, labels = answers(3.0)
    metrics = []
    for temperature in (1.0, found(logits, labels)):
        metric = SingleLabelMetric([f"{i}" for i in range(5)])
        metric.add(list((logits / temperature).softmax(1)), list(labels))
        metrics.append(metric.compute())
    before, after = metrics
    assert before["calibration_error"] > 0.1
    assert after["calibration_error"] < 0.02
    assert after["accuracy"] == before["accuracy"]


def test_few_images_hardly_move_it():
    assert found(torch.tensor([[9.0, 0.0]]), torch.tensor([0])) == pytest.approx(1, abs=0.05)


def test_parts_of_several_processes_give_what_all_images_give():
    logits, labels = answers(1.7, images=60)
    names = list("abcde")
    whole, part = CalibratedMetric(names), CalibratedMetric(names)
    for at in (slice(0, 23), slice(23, 60)):
        one = CalibratedMetric(names)
        one.add(list(logits[at].softmax(1)), list(labels[at]))
        part.merge(one.state())
    whole.add(list(logits.softmax(1)), list(labels))
    assert part.compute() == pytest.approx(whole.compute(), rel=1e-6)


def test_shares_of_classes_are_labels_too():
    logits, labels = answers(2.0, images=500)
    shares = torch.nn.functional.one_hot(labels, 5).float()
    assert found(logits, shares) == pytest.approx(found(logits, labels), rel=1e-5)


def test_a_checkpoint_keeps_it_and_its_probabilities_are_divided_by_it(tmp_path):
    torch.manual_seed(0)
    MaxViT(CONFIG).save(tmp_path / "a.safetensors")
    network = MaxViT.load(tmp_path / "a.safetensors").eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        logits = network(images)
        probabilities = torch.stack(task_for(network).predict(network, images, [(32, 32)] * 2))
    torch.testing.assert_close(probabilities, (logits / 2).softmax(1))
    torch.testing.assert_close(probabilities, network.config.probabilities(logits))


def test_probabilities_and_logits_undo_each_other():
    task = make_task({"name": "classification", "temperature": 2.0})
    probabilities = torch.tensor([[0.1, 0.2, 0.7]])
    torch.testing.assert_close(task.probabilities(task.logits(probabilities)), probabilities)


def test_one_that_is_set_is_not_searched_for():
    task = make_task({"name": "classification", "temperature": 3.0})
    network = MaxViT(dataclasses.replace(CONFIG, temperature=1.0))
    metric = task.val_metric(["a", "b", "c"])
    metric.add([torch.tensor([0.2, 0.3, 0.5])], [torch.tensor(1)])
    task.settle(network, metric.compute(), metric)
    assert "temperature" not in metric.compute()
    assert network.config.temperature == 3


def test_a_new_classifier_has_none_of_the_old_one():
    network = MaxViT(CONFIG)
    network.reset_classifier(7)
    assert network.config.temperature == 1


@pytest.mark.parametrize("value", [0, -1, "hot", float("nan"), True])
def test_a_temperature_that_is_none_is_refused(value):
    with pytest.raises(MaxViTError, match=r"temperature is .*; it takes a number above 0"):
        dataclasses.replace(CONFIG, temperature=value)

"""What a run makes of a loss that asks about each class, and of images with several labels."""

import dataclasses

import numpy as np
import pytest
import torch

from maxvit.data.dataset import LabelledImages
from maxvit.model import MaxViT
from maxvit.tasks import make_task
from maxvit.tasks.classification.data import are_several
from maxvit.training.loop import is_finished
from maxvit.training.recipe import load_recipe
from maxvit.training.setup import load_data, make_network
from several import write_list
from small import SETTINGS


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("several"), 2)


def recipe(*settings):
    return load_recipe("folder", [*SETTINGS, *settings])


def network_of(chosen, class_names=("a", "b")):
    return make_network(chosen, class_names)


@pytest.mark.parametrize(("loss", "multi_label"), [("softmax", False), ("sigmoid", True)])
def test_the_loss_says_what_the_outputs_mean(loss, multi_label):
    network = network_of(recipe(f"task.loss={loss}"))
    assert (network.config.multi_label, network.config.threshold) == (multi_label, 0.5)


def test_the_loss_also_says_what_the_outputs_of_loaded_weights_mean(tmp_path):
    config = network_of(recipe()).config
    config = dataclasses.replace(config, multi_label=True, threshold=0.3)
    MaxViT(config, class_names=["a", "b"]).save(tmp_path / "weights.safetensors")
    for loss, multi_label in (("softmax", False), ("sigmoid", True)):
        settings = [f"task.loss={loss}", f"model.pretrained={tmp_path / 'weights.safetensors'}"]
        network = network_of(recipe(*settings))
        assert (network.config.multi_label, network.config.threshold) == (multi_label, 0.5)


def test_a_new_classifier_learns_what_it_is_asked_to():
    model = MaxViT(dataclasses.replace(network_of(recipe()).config, multi_label=True, threshold=0.3))
    model.reset_classifier(5, multi_label=True)
    assert (model.config.multi_label, model.config.threshold) == (True, 0.5)
    model.reset_classifier(3)
    assert not model.config.multi_label


@pytest.mark.parametrize(("data", "chosen_by"), [("table", "mAP"), ("images", "accuracy")])
def test_several_labels_are_judged_by_mean_average_precision_and_one_label_by_accuracy(data, chosen_by, request):
    chosen = recipe("task.loss=sigmoid", f"data.path={request.getfixturevalue(data)}")
    task = make_task(chosen.task)
    val = load_data(chosen).val
    metric = task.val_metric(val.class_names)
    targets = [task.target(label, (32, 32)) for label in val.labels]
    metric.add([torch.rand(len(val.class_names)) for _ in targets], targets)
    assert next(iter(metric.compute())) == chosen_by


@pytest.mark.parametrize(
    ("labels", "several"),
    [([0, 1], False), (np.array([[False, True], [True, True]]), True), (np.array([[0.5, 0.5], [1.0, 0.0]]), False)],
)
def test_several_labels_are_rows_of_yes_and_no(labels, several):
    assert are_several(LabelledImages(["a", "b"], labels, ["x", "y"], ["a", "b"])) is several


def test_the_prediction_has_the_probabilities_of_the_loss():
    chosen = recipe("task.loss=sigmoid")
    network = network_of(chosen).eval()
    torch.nn.init.zeros_(network.head.classifier.weight)
    torch.nn.init.zeros_(network.inner_head.classifier.weight)
    network.head.classifier.bias.data = torch.tensor([0.25, 0.75]).logit()
    targets = [torch.tensor([False, True])]
    _, (prediction,) = make_task(chosen.task).evaluate(network, torch.zeros(1, 3, 32, 32), [(32, 32)], targets)
    torch.testing.assert_close(prediction.detach(), torch.tensor([0.25, 0.75]))


def test_the_network_gets_the_threshold_that_its_validation_found():
    chosen = recipe("task.loss=sigmoid")
    network = network_of(chosen, ["blue", "red"])
    task = make_task(chosen.task)
    task.settle(network, {"mAP": 0.9, "threshold": 0.37}, task.val_metric(["blue", "red"]))
    assert network.config.threshold == 0.37


def test_patience_follows_the_mean_average_precision_where_there_is_one():
    rows = [{"epoch": 1, "val_mAP": 0.9, "val_loss": 1.0}, {"epoch": 2, "val_mAP": 0.8, "val_loss": 0.5}]
    assert is_finished(recipe("optimization.metric=null", "optimization.patience=1", "optimization.epochs=9"), rows)
    assert not is_finished(
        recipe("optimization.metric=null", "optimization.patience=1", "optimization.epochs=9"), rows[:1]
    )

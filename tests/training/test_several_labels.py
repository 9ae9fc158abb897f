"""What a run makes of a loss that asks about each class, and of images with several labels."""

import dataclasses

import pytest
import torch

from maxvit.data.dataset import are_several
from maxvit.model import MaxViT
from maxvit.tasks.multi_label import MultiLabelMetric
from maxvit.training.loop import is_finished
from maxvit.training.purpose import Classifying
from maxvit.training.recipe import load_recipe
from maxvit.training.setup import make_network
from several import write_list
from small import SETTINGS


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("several"), 2)


def recipe(*settings):
    return load_recipe("folder", [*SETTINGS, *settings])


@pytest.mark.parametrize(("loss", "multi_label"), [("softmax", False), ("sigmoid", True)])
def test_the_loss_says_what_the_outputs_mean(loss, multi_label):
    network = make_network(recipe(f"optimization.loss={loss}"), ["a", "b"])
    assert (network.config.multi_label, network.config.threshold) == (multi_label, 0.5)


def test_the_loss_also_says_what_the_outputs_of_loaded_weights_mean(tmp_path):
    config = make_network(recipe(), ["a", "b"]).config
    config = dataclasses.replace(config, multi_label=True, threshold=0.3)
    MaxViT(config, class_names=["a", "b"]).save(tmp_path / "weights.safetensors")
    for loss, multi_label in (("softmax", False), ("sigmoid", True)):
        settings = [f"optimization.loss={loss}", f"model.pretrained={tmp_path / 'weights.safetensors'}"]
        network = make_network(recipe(*settings), ["a", "b"])
        assert (network.config.multi_label, network.config.threshold) == (multi_label, 0.5)


def test_a_new_classifier_learns_what_it_is_asked_to():
    model = MaxViT(dataclasses.replace(make_network(recipe(), ["a", "b"]).config, multi_label=True, threshold=0.3))
    model.reset_classifier(5, multi_label=True)
    assert (model.config.multi_label, model.config.threshold) == (True, 0.5)
    model.reset_classifier(3)
    assert not model.config.multi_label


def test_several_labels_are_judged_by_mean_average_precision_and_one_label_by_accuracy(table, images):
    of_lists, of_folders = (
        Classifying(recipe("optimization.loss=sigmoid", f"data.path={path}")) for path in (table, images)
    )
    of_lists.load()
    of_folders.load()
    assert (of_lists.monitor, of_folders.monitor) == ("mAP", "accuracy")
    assert isinstance(of_lists.metric(["blue", "red"]), MultiLabelMetric)
    assert of_folders.metric(["blue", "red"]) is None


@pytest.mark.parametrize(
    ("labels", "several"), [([0, 1], False), ([[0.0, 1.0], [1.0, 1.0]], True), ([[0.5, 0.5], [1.0, 0.0]], False)]
)
def test_several_labels_are_rows_of_0_and_1(labels, several):
    assert are_several(labels) is several


def test_the_judge_answers_with_the_probabilities_of_the_loss():
    purpose = Classifying(recipe("optimization.loss=sigmoid"))
    network = make_network(purpose.recipe, ["a", "b"]).eval()
    torch.nn.init.zeros_(network.head.classifier.weight)
    network.head.classifier.bias.data = torch.tensor([0.25, 0.75]).logit()
    _, answers = purpose.judge(network)(torch.zeros(1, 3, 32, 32), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(answers.detach(), torch.tensor([[0.25, 0.75]]))


def test_the_network_gets_the_threshold_that_its_validation_found(table):
    purpose = Classifying(recipe("optimization.loss=sigmoid", f"data.path={table}"))
    purpose.load()
    network = make_network(purpose.recipe, ["blue", "red"])
    purpose.settle(network, {"mAP": 0.9, "threshold": 0.37})
    assert network.config.threshold == 0.37


def test_patience_follows_the_mean_average_precision_where_there_is_one():
    rows = [{"epoch": 1, "val_loss": 1.0, "val_mAP": 0.9}, {"epoch": 2, "val_loss": 0.5, "val_mAP": 0.8}]
    assert is_finished(recipe("optimization.patience=1", "optimization.epochs=9"), rows)
    assert not is_finished(recipe("optimization.patience=1", "optimization.epochs=9"), rows[:1])

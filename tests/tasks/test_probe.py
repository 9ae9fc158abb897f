"""A classifier fitted to embeddings: right where they can be told apart, and in its place in the network."""

import numpy as np
import pytest
import torch

from every_task import backbone
from maxvit.data.dataset import LabelledImages
from maxvit.tasks import make_task
from maxvit.tasks.classification.linear import fit_linear
from maxvit.tasks.network import with_embeddings

NAMES = ["ant", "bee", "cat"]


def clouds(classes, each=12, width=20):
    """Points around a centre for each class, and their classes."""
    labels = torch.arange(classes).repeat_interleave(each)
    return torch.randn(classes, width)[labels] * 3 + torch.randn(len(labels), width), labels


def scores(found, features):
    return ((features - found.mean) * found.scale) @ found.weight.T + found.bias


@pytest.mark.parametrize("classes", [2, 3, 60])
def test_classes_that_lie_apart_are_told_apart(classes):
    features, labels = clouds(classes)
    assert (scores(fit_linear(features, labels, classes), features).argmax(1) == labels).float().mean() > 0.95


def test_a_class_without_images_is_never_predicted():
    features, labels = clouds(2)
    found = fit_linear(features, labels * 2, 3)
    assert (scores(found, features).argmax(1) == labels * 2).all()


def test_a_single_class_is_predicted_for_all():
    features, _ = clouds(1)
    found = fit_linear(features, torch.ones(len(features), dtype=torch.int64), 3)
    assert (scores(found, features).argmax(1) == 1).all()


def test_classes_with_two_images_are_fitted():
    features, labels = clouds(5, each=2)
    assert (scores(fit_linear(features, labels, 5), features).argmax(1) == labels).float().mean() > 0.7


def test_independent_classes_are_fitted_each():
    features, labels = clouds(2)
    targets = torch.stack([labels == 0, labels == 1, torch.zeros(len(labels), dtype=torch.bool)], 1)
    assert ((scores(fit_linear(features, targets, 3), features) > 0) == targets).float().mean() > 0.95


def test_balanced_classes_weigh_a_rare_one_more():
    features, labels = clouds(2, each=40)
    features = features * 0.3 + torch.randn_like(features)
    kept = torch.cat([torch.arange(40), torch.arange(40, 46)])
    found = [fit_linear(features[kept], labels[kept], 2, balanced) for balanced in (False, True)]
    rare = [(scores(each, features[40:]).argmax(1) == 1).sum() for each in found]
    assert rare[1] > rare[0]


@pytest.mark.parametrize("fields", [0, 2])
def test_a_network_then_says_what_was_fitted(fields):
    network = backbone(names=NAMES).eval()
    network.reset_classifier(3, class_names=NAMES, inner_fields=fields)
    images, labels = torch.randn(30, 3, 64, 64), torch.arange(3).repeat(10)
    images += labels[:, None, None, None]
    task = make_task({"name": "classification"})
    data = LabelledImages([], labels.tolist(), NAMES, [])
    with torch.inference_mode():
        embeddings = with_embeddings(network, images)[1].clone()
    task.probe(data)(network, embeddings.clone(), labels)
    with torch.inference_mode():
        assert (network(images).argmax(1) == labels).float().mean() > 0.9
        wanted = fit_linear(
            embeddings if not fields else embeddings[:, network.head.classifier.in_features :], labels, 3
        )
        found = scores(wanted, embeddings if not fields else embeddings[:, network.head.classifier.in_features :])
        torch.testing.assert_close(network(images), found, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("few", [0, 4])
def test_wrong_labels_are_found_on_the_way(few):
    """Also where a class has fewer images than there are folds."""
    network = backbone(names=NAMES).eval()
    features, labels = clouds(2, each=40, width=network.head.classifier.in_features)
    given = torch.cat([labels, torch.full((few,), 2)])
    given[7] = 1
    features = torch.cat([features, torch.randn(few, features.shape[1])])
    probe = make_task({"name": "classification"}).probe(LabelledImages([], given.tolist(), NAMES, []))
    assert [(one.image, one.given, one.likely) for one in probe(network, features, given)] == [(7, 1, 0)]


def test_labels_are_not_judged_where_classes_have_fewer_images_than_there_are_folds():
    network = backbone(names=NAMES).eval()
    features, labels = clouds(2, each=4, width=network.head.classifier.in_features)
    probe = make_task({"name": "classification"}).probe(LabelledImages([], labels.tolist(), NAMES, []))
    assert probe(network, features, labels) is None


def test_several_labels_an_image_are_not_judged():
    network = backbone(names=NAMES).eval()
    features, labels = clouds(3, width=network.head.classifier.in_features)
    targets = torch.nn.functional.one_hot(labels, 3).bool()
    probe = make_task({"name": "classification"}).probe(LabelledImages([], targets.numpy(), NAMES, []))
    assert probe(network, features, targets) is None


def test_shares_of_classes_have_none():
    data = LabelledImages([], np.full((4, 3), 1 / 3, np.float32), NAMES, [])
    assert make_task({"name": "classification"}).probe(data) is None


@pytest.mark.parametrize("name", ["segmentation", "detection", "aesthetics"])
def test_other_tasks_have_none(name):
    assert make_task({"name": name}).probe(LabelledImages([], [], NAMES, [])) is None

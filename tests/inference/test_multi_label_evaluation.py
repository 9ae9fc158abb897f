"""Images with several labels each: what a network predicts, and the metrics."""

import dataclasses

import numpy as np
import pytest
import torch

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import preprocess
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import evaluate, merge
from maxvit.model import MaxViT
from maxvit.tasks.classification.multi_label import MultiLabelMetric
from maxvit.tasks.classification.single_label import SingleLabelMetric

NAMES = ["ant", "bee", "cat"]
LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]], bool)


@pytest.fixture(scope="module")
def model():
    """A multi-label network whose answers differ from image to image."""
    torch.manual_seed(0)
    config = MaxViTConfig(
        stem_channels=8,
        channels=(8, 16, 16, 24),
        depths=(1, 1, 1, 1),
        head_dim=8,
        window_size=(2, 3),
        grid_size=(3, 2),
        num_classes=3,
        multi_label=True,
        threshold=0.4,
        image_size=(32, 41),
    )
    model = MaxViT(config, Preprocessing(image_size=(32, 41)), NAMES)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return model.eval()


def images(labels):
    arrays = [np.random.default_rng(i).integers(0, 256, (37, 43, 3), dtype=np.uint8) for i in range(len(labels))]
    return LabelledImages(arrays, labels, NAMES, [f"{i}.png" for i in range(len(labels))])


def sigmoids(model, data, mirrored=False):
    tensors = torch.stack([preprocess(model.preprocessing, source) for source in data.sources])
    with torch.inference_mode():
        logits = model(tensors.flip(-1) if mirrored else tensors)
    return 1 / (1 + np.exp(-logits.double().numpy()))


def answers(n=40, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((n, 3)) < 0.4
    probabilities = np.clip(labels * 0.3 + random.random((n, 3)) * 0.7, 0, 1).astype(np.float32)
    return MultiLabelMetric(NAMES, 0.5).with_images(labels, probabilities)


def test_probabilities_are_sigmoids_and_the_threshold_is_the_network_s(model):
    data = images(LABELS)
    found = evaluate(model, data, batch_size=3).metric.chosen
    assert isinstance(found, MultiLabelMetric)
    np.testing.assert_allclose(found.probabilities, sigmoids(model, data), rtol=1e-4)
    assert np.array_equal(found.labels, LABELS)
    assert np.array_equal(found.predictions, found.probabilities >= 0.4)
    flipped = (sigmoids(model, data) + sigmoids(model, data, mirrored=True)) / 2
    np.testing.assert_allclose(evaluate(model, data, tta="flip").metric.chosen.probabilities, flipped, rtol=1e-4)


def test_parts_of_several_labels_are_put_together(model):
    data = images(LABELS)
    parts = [evaluate(model, data, part=(rank, 5)) for rank in range(5)]  # the last has no image
    whole = merge(parts).metric.chosen
    assert isinstance(whole, MultiLabelMetric)
    assert np.array_equal(whole.labels, LABELS)
    np.testing.assert_allclose(whole.probabilities, evaluate(model, data).metric.chosen.probabilities, rtol=1e-5)


def test_one_label_an_image_keeps_accuracy_and_has_the_loss_that_was_trained(model):
    data = images([0, 2, 1])
    found = evaluate(model, data).metric.chosen
    assert isinstance(found, SingleLabelMetric)
    yes = sigmoids(model, data)
    np.testing.assert_allclose(found.probabilities, yes, rtol=1e-4)
    assert found.accuracy == np.mean(yes.argmax(1) == data.labels)
    truth = np.eye(3)[data.labels]
    expected = -(truth * np.log(yes) + (1 - truth) * np.log(1 - yes)).sum(1).mean()
    assert found.loss == pytest.approx(expected, rel=1e-4)


def test_a_network_of_one_class_of_many_refuses_several_labels(model):
    softmax = MaxViT(dataclasses.replace(model.config, multi_label=False), model.preprocessing, NAMES)
    with pytest.raises(MaxViTError, match=r"^the labels of 0.png sum to 2, .* task.loss=sigmoid"):
        evaluate(softmax, images(LABELS))


def test_shares_that_are_no_labels_are_still_refused(model):
    with pytest.raises(MaxViTError, match=r"^the labels of 1.png sum to 0.5"):
        evaluate(model, images(np.array([[0.5, 0.5, 0], [0.5, 0, 0]], np.float32)))


def test_an_image_is_right_if_nothing_is_missed_and_nothing_else_answered():
    probabilities = np.array([[0.9, 0.1, 0.6], [0.1, 0.2, 0.1], [0.1, 0.4, 0.1], [0.9, 0.9, 0.99]], np.float32)
    found = MultiLabelMetric(NAMES, 0.5).with_images(LABELS, probabilities)
    assert found.right.tolist() == [True, True, False, False]
    assert found.mistakes() == [3, 2]  # the more confident one first
    wanted = -np.log(np.where(LABELS, probabilities, 1 - probabilities)).sum(1)
    np.testing.assert_allclose(found.losses, wanted, rtol=1e-5)


def test_intervals_hold_the_figures_and_narrow_with_more_images():
    few, many = answers(50), answers(800)
    for found in (few, many):
        for name, (low, high) in found.intervals().items():
            assert 0 <= low < found.compute()[name] < high <= 1
    for name, (low, high) in many.intervals().items():
        assert (high - low) < 0.5 * np.subtract(*few.intervals()[name][::-1])  # a quarter, by the square root of 16

"""Losses by hand, whatever the labels are."""

import pytest
import torch
from torch import nn

from maxvit.tasks.classification.loss import ClassificationLosses, balanced_weights

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 2])


class Constant(nn.Module):
    def forward(self, images):
        return LOGITS


def task(**options):
    return ClassificationLosses(Constant(), **options)


def cross_entropy(logits, shares):
    """One image, from the definition."""
    return -sum(s * (x - logits.exp().sum().log()) for s, x in zip(shares, logits, strict=True))


def test_the_softmax_loss_is_the_mean_cross_entropy_and_smooth_while_training():
    smooth = [[0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3], [0.1 / 3, 0.1 / 3, 0.9 + 0.1 / 3]]
    judged = task(label_smoothing=0.1)
    wanted = sum(cross_entropy(x, s) for x, s in zip(LOGITS, smooth, strict=True)) / 2
    torch.testing.assert_close(judged.train()(None, LABELS)["loss"], wanted)
    wanted = (cross_entropy(LOGITS[0], [1, 0, 0]) + cross_entropy(LOGITS[1], [0, 0, 1])) / 2
    torch.testing.assert_close(judged.eval()(None, LABELS)["loss"], wanted)


def test_soft_labels_are_shares_of_classes():
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]], dtype=torch.float64)
    scores = task()(None, shares)
    torch.testing.assert_close(scores["loss"], sum(map(cross_entropy, LOGITS, shares)) / 2)
    assert float(scores["accuracy"]) == 0.5  # the first answer is among the largest shares


def test_the_sigmoid_loss_asks_about_each_class():
    wanted = 0.0
    for logits, label in zip(LOGITS, LABELS, strict=True):
        for c, x in enumerate(logits):
            target = 0.9 * (c == label) + 0.1 / 3
            wanted -= target * x.sigmoid().log() + (1 - target) * (1 - x.sigmoid()).log()
    scores = task(loss="sigmoid", label_smoothing=0.1).train()(None, LABELS)
    torch.testing.assert_close(scores["loss"], wanted / 2)


def test_several_labels_have_a_loss_and_no_accuracy():
    assert list(task(loss="sigmoid", several=True)(None, torch.tensor([[1.0, 0, 1], [0, 0, 0]]))) == ["loss"]


def test_with_several_labels_any_of_them_is_a_right_answer():
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    assert float(task(loss="sigmoid")(None, labels)["accuracy"]) == 0.5


def test_class_weights_multiply_the_loss_while_training_only():
    weights = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
    judged = task(class_weights=weights)
    wanted = (3 * cross_entropy(LOGITS[0], [1, 0, 0]) + 0.5 * cross_entropy(LOGITS[1], [0, 0, 1])) / 2
    torch.testing.assert_close(judged.train()(None, LABELS)["loss"], wanted)
    torch.testing.assert_close(judged.eval()(None, LABELS)["loss"], task().eval()(None, LABELS)["loss"])


def test_class_weights_of_the_sigmoid_loss_are_those_of_the_image_s_class():
    weights = torch.tensor([3.0, 1.0, 0.5], dtype=torch.float64)
    plain = [task(loss="sigmoid").train()(None, LABELS)["loss"]]
    each = [
        ClassificationLosses(lambda _, x=x: x[None], loss="sigmoid")(None, y[None])["loss"]
        for x, y in zip(LOGITS, LABELS, strict=True)
    ]
    torch.testing.assert_close(plain[0], sum(each) / 2)
    weighted = task(loss="sigmoid", class_weights=weights).train()(None, LABELS)["loss"]
    torch.testing.assert_close(weighted, (3 * each[0] + 0.5 * each[1]) / 2)


def test_balanced_classes_count_alike_and_a_mean_image_counts_one():
    labels = torch.tensor([0] * 7 + [2] * 3)
    weights = balanced_weights(labels, 4)
    assert weights.tolist() == pytest.approx([10 / 14, 0, 10 / 6, 0])
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_mixed_labels_have_the_weights_of_their_classes():
    weights = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    shares = torch.tensor([[0.25, 0.75, 0.0], [0.0, 0.5, 0.5]], dtype=torch.float64)
    losses = [
        ClassificationLosses(lambda _, x=x: x[None], loss="sigmoid")(None, y[None])["loss"]
        for x, y in zip(LOGITS, shares, strict=True)
    ]
    found = task(loss="sigmoid", class_weights=weights).train()(None, shares)["loss"]
    torch.testing.assert_close(found, (losses[0] * (0.25 * 0.5 + 0.75) + losses[1] * 1.5) / 2)

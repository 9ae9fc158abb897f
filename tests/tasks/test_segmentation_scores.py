"""Loss and figures, against definitions that share no code with them."""

import math
import pickle

import pytest
import torch
from sklearn.metrics import jaccard_score

from maxvit.tasks.segmentation.loss import losses
from maxvit.tasks.segmentation.metric import SegmentationMetric


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    logits = torch.tensor([[[[0.0, 2.0, 5.0]], [[0.0, 0.0, -5.0]]]])  # (1, 2, 1, 3)
    classes = torch.tensor([[[0, 1, 255]]], dtype=torch.uint8)
    by_hand = (math.log(2) + math.log(1 + math.exp(2))) / 2
    assert losses(logits, classes, 0)["loss"].item() == pytest.approx(by_hand)


def test_no_labelled_pixel_gives_no_loss_and_no_gradient():
    logits = torch.randn(2, 3, 5, 7, requires_grad=True)
    found = losses(logits, torch.full((2, 5, 7), 255, dtype=torch.uint8), 0.5)
    found["loss"].backward()
    assert found["loss"].item() == 0
    assert logits.grad.abs().max() == 0


def test_dice_is_its_definition_over_the_classes_present():
    logits, classes = torch.randn(2, 4, 5, 7), torch.randint(0, 3, (2, 5, 7), dtype=torch.uint8)  # class 3 is nowhere
    classes[0, :2] = 255
    shares = logits.softmax(1)
    terms = []
    for k in range(4):
        both = share = true = 0.0
        for b, i, j in [(b, i, j) for b in range(2) for i in range(5) for j in range(7) if classes[b, i, j] != 255]:
            both += shares[b, k, i, j].item() * (classes[b, i, j] == k).item()
            share += shares[b, k, i, j].item()
            true += (classes[b, i, j] == k).item()
        terms.append(1 - 2 * both / (share + true) if true else 0.0)
    found = losses(logits, classes, 0.3)
    assert found["dice"].item() == pytest.approx(sum(terms) / 4, abs=1e-5)
    assert found["loss"].item() == pytest.approx(found["cross_entropy"].item() + 0.3 * found["dice"].item(), abs=1e-5)


def test_figures_by_hand():
    metric = SegmentationMetric(["a", "b", "c", "nowhere"])
    truth = torch.tensor([[0, 0, 0, 1], [1, 255, 255, 2]], dtype=torch.uint8)
    answer = torch.tensor([[0, 0, 1, 1], [1, 3, 0, 0]], dtype=torch.uint8)  # "nowhere" only where nothing is asked for
    metric.add([answer], [truth])
    figures = metric.compute()
    assert list(figures) == ["miou", "pixel_accuracy", "mean_accuracy"]
    assert figures["miou"] == pytest.approx((2 / 4 + 2 / 3 + 0) / 3)
    assert figures["pixel_accuracy"] == pytest.approx(4 / 6)
    assert figures["mean_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert metric.rows() == [
        {"class": "a", "iou": pytest.approx(0.5), "accuracy": pytest.approx(2 / 3), "pixels": 3},
        {"class": "b", "iou": pytest.approx(2 / 3), "accuracy": 1.0, "pixels": 2},
        {"class": "c", "iou": 0.0, "accuracy": 0.0, "pixels": 1},
    ]


def some_images():
    sizes = [(5, 7), (11, 3), (2, 13), (17, 19)]
    answers = [torch.randint(0, 6, size, dtype=torch.uint8) for size in sizes]
    targets = [torch.randint(0, 6, size, dtype=torch.uint8) for size in sizes]
    targets[1][:4] = 255
    return answers, targets


def test_miou_is_that_of_scikit_learn():
    answers, targets = some_images()
    metric = SegmentationMetric([str(i) for i in range(6)])
    metric.add(answers, targets)
    answer, truth = torch.cat([a.flatten() for a in answers]), torch.cat([t.flatten() for t in targets])
    there = truth != 255
    assert metric.compute()["miou"] == pytest.approx(jaccard_score(truth[there], answer[there], average="macro"))


def test_parts_of_several_processes_make_the_whole():
    answers, targets = some_images()
    whole, first, second = (SegmentationMetric([str(i) for i in range(6)]) for _ in range(3))
    whole.add(answers, targets)
    first.add(answers[:1], targets[:1])
    second.add(answers[1:], targets[1:])
    first.merge(pickle.loads(pickle.dumps(second.state())))
    assert first.compute() == whole.compute()
    assert first.rows() == whole.rows()


def test_nothing_counted_is_no_number_and_no_error():
    metric = SegmentationMetric(["a", "b"])
    assert all(math.isnan(value) for value in metric.compute().values())
    assert metric.rows() == []

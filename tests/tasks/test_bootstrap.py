"""Confidence intervals by the bootstrap, against a closed form and of the tasks that have them."""

import numpy as np
import pytest
import torch

from maxvit.tasks import make_task
from maxvit.tasks.bootstrap import bootstrap_intervals


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, 1009)
    low, high = bootstrap_intervals(len(values), lambda drawn: {"mean": float(values[drawn].mean())})["mean"]
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)


def test_a_metric_that_cannot_be_told_of_some_images_has_no_interval():
    def measure(drawn):
        return {"known": 1.0, "unknown": float("nan") if 0 in drawn else 1.0}

    assert bootstrap_intervals(7, measure) == {"known": (1.0, 1.0)}
    assert bootstrap_intervals(0, measure) == {}


def aesthetics(images):
    shares = torch.rand(images, 10).softmax(-1)
    predictions = (shares + 0.1 * torch.rand(images, 10)).softmax(-1)
    return make_task({"name": "aesthetics"}).metric([]), list(predictions), list(shares)


def segmentation(images):
    targets = [torch.randint(0, 3, (11, 7), dtype=torch.uint8) for _ in range(images)]
    wrong = [torch.rand(11, 7) < torch.rand(()) for _ in range(images)]
    predictions = [torch.where(where, 0, target) for where, target in zip(wrong, targets, strict=True)]
    return make_task({"name": "segmentation"}).metric(["a", "b", "c"]), predictions, targets


@pytest.mark.parametrize("make", [aesthetics, segmentation])
def test_intervals_hold_the_metrics_and_narrow_with_more_images(make):
    widths = []
    for images in (50, 800):
        metric, predictions, targets = make(images)
        assert metric.intervals() == {}
        metric.add(predictions, targets)
        values, intervals = metric.compute(), metric.intervals()
        assert intervals.keys() == values.keys()
        assert all(low <= values[name] <= high for name, (low, high) in intervals.items())
        low, high = next(iter(intervals.values()))
        widths.append(high - low)
    assert 0 < widths[1] < 0.5 * widths[0]  # a quarter, by the square root of 16


@pytest.mark.parametrize("make", [aesthetics, segmentation])
def test_intervals_do_not_depend_on_how_images_were_divided(make):
    whole, predictions, targets = make(9)
    parts = [make(0)[0] for _ in range(2)]
    whole.add(predictions, targets)
    parts[0].add(predictions[:4], targets[:4])
    parts[1].add(predictions[4:], targets[4:])
    parts[0].merge(parts[1].state())
    assert parts[0].intervals() == whole.intervals()

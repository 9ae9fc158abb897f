"""Stochastic depth: per image, unbiased, and nothing in evaluation."""

import torch

from maxvit.layers.drop_path import DropPath


def test_whole_images_are_dropped_and_the_rest_is_scaled():
    x = torch.randn(1000, 3, 2, 2)
    y = DropPath(0.25).train()(x)
    dropped = (y == 0).flatten(1).all(1)
    torch.testing.assert_close(y[~dropped], x[~dropped] / 0.75)
    assert 200 < int(dropped.sum()) < 300  # 250 are expected, the deviation is 14


def test_nothing_happens_in_evaluation_or_at_rate_zero():
    x = torch.randn(5, 3)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_low_precision_keeps_its_type_and_its_chance():
    x = torch.ones(4000, 1, dtype=torch.bfloat16)
    y = DropPath(0.1).train()(x)
    assert y.dtype == torch.bfloat16
    assert 320 < int((y == 0).sum()) < 480  # 400 are expected, the deviation is 19

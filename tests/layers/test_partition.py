"""Which tokens attend together, against the definition one pixel at a time."""

import itertools

import pytest
import torch

from maxvit.layers.partition import pad, padded_size, partition, real_tokens, unpartition

CASES = [((10, 21), (2, 3)), ((7, 7), (7, 7)), ((4, 4), (1, 1)), ((15, 22), (5, 11))]


def slow_partition(x, size, axis):
    """The definition: for each pixel its group and its place in it."""
    batch, height, width, channels = x.shape
    (p, q), (nh, nw) = size, (height // size[0], width // size[1])
    out = torch.full((batch, nh * nw, p * q, channels), float("nan"))  # a token nobody writes stays NaN and fails
    for i, j in itertools.product(range(height), range(width)):
        (gi, ti), (gj, tj) = divmod(i, p), divmod(j, q)  # block: neighbours share a window
        if axis == "grid":
            (ti, gi), (tj, gj) = divmod(i, nh), divmod(j, nw)  # grid: tokens lie nh and nw apart
        out[:, gi * nw + gj, ti * q + tj] = x[:, i, j]
    return out


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("hw", "size"), CASES)
def test_each_token_is_where_the_definition_says(hw, size, axis):
    x = torch.randn(2, *hw, 5)
    groups = partition(x, size, axis)
    assert torch.equal(groups, slow_partition(x, size, axis))
    assert torch.equal(unpartition(groups, hw, size, axis), x)


@pytest.mark.parametrize(("hw", "size", "expected"), [((10, 21), (2, 3), (10, 21)), ((11, 13), (3, 7), (12, 14))])
def test_padding_goes_to_the_bottom_and_right_up_to_the_next_multiple(hw, size, expected):
    x = torch.randn(2, *hw, 3)
    padded = pad(x, size)
    assert padded_size(hw, size) == expected == tuple(padded.shape[1:3])
    assert torch.equal(padded[:, : hw[0], : hw[1]], x)
    assert padded.sum() == pytest.approx(float(x.sum()), abs=1e-3)  # all else is zero


def test_a_map_that_divides_has_no_mask():
    assert real_tokens((14, 21), (7, 3), "block") is None


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("hw", "size"), [((11, 13), (3, 7)), ((1, 1), (7, 7)), ((5, 29), (7, 7)), ((2, 3), (5, 2))])
def test_real_tokens_are_those_of_the_map_and_every_group_has_one(hw, size, axis):
    height, width = padded_size(hw, size)
    inside = torch.zeros(1, height, width, 1)
    inside[:, : hw[0], : hw[1]] = 1
    real = real_tokens(hw, size, axis)
    assert torch.equal(real.float(), slow_partition(inside, size, axis)[0, :, :, 0])
    assert real.any(1).all()

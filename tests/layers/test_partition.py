"""Which tokens attend together, against the definition one token at a time, on maps of 1, 2 and 3 sides."""

import itertools
from math import prod

import pytest
import torch

from maxvit.layers.partition import Groups, padded_size, partition, real_tokens, unpartition

CASES = [  # sides, size, dilation of a grid
    ((10, 21), (2, 3), None),
    ((7, 7), (7, 7), None),
    ((4, 4), (1, 1), None),
    ((11, 13), (3, 7), None),
    ((1, 1), (7, 7), None),
    ((2, 3), (5, 2), None),
    ((11, 13), (2, 3), (3, 2)),
    ((29,), (7,), None),
    ((17,), (3,), (2,)),
    ((4, 6, 10), (2, 3, 5), None),
    ((3, 7, 5), (2, 3, 4), None),
    ((5, 9, 4), (2, 2, 2), (1, 3, 2)),
]


def slow_partition(x, size, axis, dilation=None):
    """The definition: for each token its group and its place in it, along each side; where there is none, zero."""
    batch, *sides, channels = x.shape
    spans, homes = [], []  # by side: groups, and (group, place) of each token
    for i, (side, tokens) in enumerate(zip(sides, size, strict=True)):
        step = 1 if axis == "block" else -(-side // tokens) if dilation is None else dilation[i]
        windows = -(-side // (step * tokens))
        spans.append(windows * step)
        homes.append([(at // (step * tokens) * step + at % step, at // step % tokens) for at in range(side)])
    out = torch.zeros(batch, prod(spans), prod(size), channels, dtype=x.dtype)
    for at in itertools.product(*map(range, sides)):
        group = token = 0
        for span, tokens, home, i in zip(spans, size, homes, at, strict=True):
            group, token = group * span + home[i][0], token * tokens + home[i][1]
        out[:, group, token] = x[(slice(None), *at)]
    return out


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("sides", "size", "dilation"), CASES)
def test_each_token_is_where_the_definition_says(sides, size, dilation, axis):
    x, groups = torch.randn(2, *sides, 5), Groups(size, axis, dilation if axis == "grid" else None)
    grouped = partition(x, groups)
    assert torch.equal(grouped, slow_partition(x, *groups))
    assert torch.equal(unpartition(grouped, sides, groups), x)


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("sides", "size", "dilation"), CASES)
def test_real_tokens_are_those_of_the_map(sides, size, dilation, axis):
    groups = Groups(size, axis, dilation if axis == "grid" else None)
    inside = slow_partition(torch.ones(1, *sides, 1, dtype=torch.bool), *groups)[0, :, :, 0]
    real = real_tokens(sides, groups)
    assert inside.all() if real is None else torch.equal(real, inside)
    assert groups.dilation is not None or inside.any(1).all()  # every group has one


def test_sides_are_padded_to_the_next_multiple():
    assert padded_size((11, 14, 1), (3, 7, 4)) == (12, 14, 4)


def test_a_map_without_images_has_groups_without_images():
    assert partition(torch.empty(0, 5, 7, 3), Groups((2, 3), "grid")).shape == (0, 9, 6, 3)

"""Groups by index are the groups by shape."""

from math import prod

import pytest
import torch

from maxvit.layers.attention import GroupAttention
from maxvit.layers.gather import group_indices, place_indices
from maxvit.layers.partition import Groups, partition, real_tokens

CASES = [
    ((10, 21), (2, 3), None),
    ((11, 13), (3, 7), None),
    ((1, 1), (7, 7), None),
    ((7, 5), (7, 5), None),
    ((2, 3), (5, 2), None),
    ((5, 29), (7, 7), None),
    ((11, 13), (2, 3), (3, 2)),
    ((17,), (3,), None),
    ((3, 7, 5), (2, 3, 4), None),
]


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("sides", "size", "dilation"), CASES)
def test_indices_gather_what_the_partition_does_and_lead_back(sides, size, dilation, axis):
    x, groups = torch.arange(1, prod(sides) + 1), Groups(size, axis, dilation if axis == "grid" else None)
    places, real = group_indices(sides, groups, x.device)
    assert torch.equal(x[places] * real, partition(x.view(1, *sides, 1), groups)[0, :, :, 0])
    of_shape = real_tokens(sides, groups)
    assert torch.equal(real, torch.ones_like(real) if of_shape is None else of_shape)
    assert torch.equal(x[places].flatten()[place_indices(sides, groups, x.device)], x)


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("sides", "size", "dilation"), CASES)
def test_the_graph_for_any_size_changes_no_bit(sides, size, dilation, axis):
    table = tuple(2 * side - 1 for side in size)
    layer = GroupAttention(8, axis, size, table, head_dim=4, dilation=dilation if axis == "grid" else None)
    x, mask = torch.randn(3, *sides, 8), torch.rand(3, *sides) < 0.3
    plain, masked = layer(x), layer(x, mask)
    layer.any_size = True
    assert torch.equal(layer(x), plain)
    assert torch.equal(layer(x, mask), masked)

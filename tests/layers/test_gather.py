"""Groups by index are the groups by shape."""

import pytest
import torch

from maxvit.layers.attention import GroupAttention
from maxvit.layers.gather import group_indices, place_indices
from maxvit.layers.partition import pad, padded_size, partition, real_tokens

CASES = [
    ((10, 21), (2, 3)),
    ((11, 13), (3, 7)),
    ((1, 1), (7, 7)),
    ((7, 5), (7, 5)),
    ((2, 3), (5, 2)),
    ((5, 29), (7, 7)),
]


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("hw", "size"), CASES)
def test_indices_gather_what_the_partition_does_and_lead_back(hw, size, axis):
    x = torch.arange(1, hw[0] * hw[1] + 1)
    places, real = group_indices(hw, size, axis, x.device)
    groups = partition(pad(x.reshape(1, *hw, 1), size), size, axis)[0, :, :, 0]
    assert torch.equal(x[places] * real, groups)
    assert torch.equal(real, real_tokens(hw, size, axis) if hw != padded_size(hw, size) else torch.ones_like(real))
    assert torch.equal(x[places].flatten()[place_indices(hw, size, axis, x.device)], x)


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("hw", "size"), CASES)
def test_the_graph_for_any_size_changes_no_bit(hw, size, axis):
    layer = GroupAttention(8, axis, size, (2 * size[0] - 1, 2 * size[1] - 1), head_dim=4)
    x = torch.randn(3, *hw, 8)
    plain = layer(x)
    layer.any_size = True
    assert torch.equal(layer(x), plain)

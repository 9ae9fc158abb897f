"""The attention core of the Triton kernels: that of the layers, forward and backward, on any map with any window."""

from math import prod

import pytest
import torch
from budget import TYPES, check
from torch import Tensor

from maxvit.kernels.gpu.attention import _Plan, group_attention
from maxvit.layers.attention import attend
from maxvit.layers.partition import Groups


def plain(qkv: Tensor, bias: Tensor, size: tuple[int, int], axis: str) -> Tensor:
    return attend(qkv, bias, Groups(size, axis))


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    ("batch", "hw", "size", "heads", "dim"),
    [
        pytest.param(2, (14, 7), (7, 7), 2, 32, marks=pytest.mark.full),
        (1, (11, 9), (7, 7), 1, 32),  # padded
        (2, (7, 10), (3, 2), 3, 16),  # ten groups in a tile
        (3, (2, 3), (1, 1), 1, 8),  # a token attends to itself alone; heads of fewer channels than a tile
        pytest.param(1, (13, 9), (9, 8), 1, 24, marks=pytest.mark.full),  # a group in two tiles
    ],
    ids=str,
)
def test_it_is_the_attention_of_the_layers(device, dtype, axis, batch, hw, size, heads, dim):
    tokens = size[0] * size[1]
    qkv = torch.randn(batch, *hw, 3 * heads * dim, device=device)
    bias = torch.randn(heads, tokens, tokens, device=device)
    check(lambda x, b: group_attention(x, b, size, axis)[0], lambda x, b: plain(x, b, size, axis), [qkv, bias], dtype)


@pytest.mark.parametrize(
    ("batch", "side", "heads", "window"),
    [(256, 56, 2, 7), (256, 7, 16, 7), (64, 96, 3, 12), (64, 24, 12, 12), (64, 128, 2, 16), (64, 16, 16, 16)],
    ids=str,
)
def test_there_are_programs_for_two_waves_of_an_h100(batch, side, heads, window):
    """Whose 132 multiprocessors hold four of them at once, whatever the number of tiles of a group."""
    qkv = torch.empty(batch, side, side, 96 * heads, dtype=torch.bfloat16, device="meta")
    bias = torch.empty(heads, window**2, window**2, device="meta")
    assert prod(_Plan.of(qkv, bias, (window, window), "block", "forward").grid) > 1.8 * 132 * 4

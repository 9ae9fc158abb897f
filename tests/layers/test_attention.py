"""Attention within groups, against a definition that visits one query and one key at a time."""

import itertools

import pytest
import torch

from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import padded_size, partition, unpartition
from maxvit.layers.position_bias import RelativePositionBias


def slow_attention(layer: GroupAttention, x: torch.Tensor) -> torch.Tensor:
    """Every real pixel looks at the real pixels of its group: nothing is padded, nothing is masked."""
    batch, height, width, channels = x.shape
    (p, q), heads, dim = layer.size, layer.heads, channels // layer.heads
    strides = (padded_size((height, width), layer.size)[0] // p, padded_size((height, width), layer.size)[1] // q)
    queries, keys, values = (x @ layer.qkv.weight.T + layer.qkv.bias).split(channels, -1)
    out = torch.full_like(x, float("nan"))

    def place(i: int, j: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """(group, place in the group)"""
        if layer.axis == "block":
            return (i // p, j // q), (i % p, j % q)
        return (i % strides[0], j % strides[1]), (i // strides[0], j // strides[1])

    pixels = list(itertools.product(range(height), range(width)))
    for b, h, (i, j) in itertools.product(range(batch), range(heads), pixels):
        group, (y, z) = place(i, j)
        own = slice(h * dim, (h + 1) * dim)
        scores, seen = [], []
        for k, m in pixels:
            other, (v, u) = place(k, m)
            if other == group:
                bias = layer.bias.table[h, (v - y) + p - 1, (u - z) + q - 1]  # key minus query
                scores.append(queries[b, i, j, own] @ keys[b, k, m, own] / dim**0.5 + bias)
                seen.append(values[b, k, m, own])
        out[b, i, j, own] = torch.stack(scores).softmax(0) @ torch.stack(seen)
    return out @ layer.proj.weight.T + layer.proj.bias


@pytest.fixture
def make():
    def make(axis, size):
        layer = GroupAttention(12, axis, size, (2 * size[0] - 1, 2 * size[1] - 1), head_dim=4).double()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return layer

    return make


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("hw", "size"), [((4, 9), (2, 3)), ((5, 7), (2, 3)), ((7, 5), (3, 2)), ((2, 3), (5, 2))])
def test_real_tokens_get_what_the_definition_gives_whether_the_map_divides_or_not(make, axis, hw, size):
    layer, x = make(axis, size), torch.randn(2, *hw, 12).double()
    torch.testing.assert_close(layer(x), slow_attention(layer, x))


@pytest.mark.parametrize("axis", ["block", "grid"])
def test_gradients_are_those_of_the_definition_on_a_padded_map(make, axis):
    layer, x = make(axis, (2, 3)), torch.randn(1, 3, 5, 12).double().requires_grad_()
    tensors = [x, *layer.parameters()]
    target = torch.randn(1, 3, 5, 12).double()
    fast = torch.autograd.grad((layer(x) * target).sum(), tensors)
    slow = torch.autograd.grad((slow_attention(layer, x) * target).sum(), tensors)
    torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("axis", ["block", "grid"])
def test_weights_are_those_that_the_output_is_made_of(make, axis):
    layer, x = make(axis, (2, 3)), torch.randn(1, 4, 6, 12).double()
    weights = layer.weights(x)  # (B, G, N, T, T)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    values = partition(layer.qkv(x)[..., 24:], (2, 3), axis).unflatten(3, (3, 4)).transpose(2, 3)  # (B, G, N, T, D)
    mixed = (weights @ values).transpose(2, 3).flatten(3)
    torch.testing.assert_close(layer.proj(unpartition(mixed, (4, 6), (2, 3), axis)), layer(x))


def test_bias_reads_key_minus_query_height_first():
    bias = RelativePositionBias(2, (7, 7), (13, 13))
    whole = bias().unflatten(2, (7, 7)).unflatten(1, (7, 7))  # (N, y, x, v, u)
    assert torch.equal(whole[:, 1, 2, 5, 3], bias.table[:, 10, 7])  # the official pair: query (1, 2), key (5, 3)
    assert torch.equal(whole[:, 0, 0, 6, 6], bias.table[:, 12, 12])


def test_bias_of_another_size_is_resized_bilinearly_with_half_pixel_centres():
    bias = RelativePositionBias(1, (3, 2), (3, 3))  # 3 x 3 learned, 5 x 3 used
    table = bias.table[0]
    at = (torch.arange(5) + 0.5) * 3 / 5 - 0.5  # where the five rows lie among the three
    low = at.clamp(0, 2).floor().long().clamp(max=1)
    share = (at.clamp(0, 2) - low)[:, None]
    resized = table[low] * (1 - share) + table[low + 1] * share  # (5, 3)
    whole = bias().unflatten(2, (3, 2)).unflatten(1, (3, 2))[0]
    for (y, x), (v, u) in itertools.product(itertools.product(range(3), range(2)), repeat=2):
        torch.testing.assert_close(whole[y, x, v, u], resized[v - y + 2, u - x + 1])


def test_resized_bias_trains_the_learned_table():
    bias = RelativePositionBias(2, (5, 3), (3, 3))
    bias().square().sum().backward()
    assert bias.table.grad.shape == (2, 3, 3)
    assert (bias.table.grad != 0).all()


def test_softmax_and_mask_hold_in_bfloat16_on_padded_maps(make):
    layer, x = make("grid", (4, 4)).bfloat16(), torch.randn(2, 5, 7, 12).bfloat16()
    low = layer(x)
    assert low.dtype == torch.bfloat16
    high = layer.float()(x.float())
    assert (low.float() - high).abs().max() < 0.03 * high.abs().max()  # bfloat16 holds 8 bits

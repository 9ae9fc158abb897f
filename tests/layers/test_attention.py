"""Attention within groups: what its weights, its position bias and its masks mean. Its result: see test_any_map.py."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from maxvit.config import Dialect
from maxvit.errors import MaxViTError
from maxvit.layers.attention import GroupAttention
from maxvit.layers.multiaxis import BlockAttention, GridAttention, MaxSA
from maxvit.layers.parallel import ParallelAttention
from maxvit.layers.partition import Groups, partition, unpartition
from maxvit.layers.position_bias import MLPPositionBias, RelativePositionBias
from slow_attention import mlp_table, slow_attention


@pytest.fixture
def make():
    def make(axis, size, **options):
        table = tuple(2 * side - 1 for side in size)
        layer = GroupAttention(12, axis, size, table, head_dim=4, **options).double()
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return layer

    return make


@pytest.mark.parametrize("axis", ["block", "grid"])
def test_weights_are_those_that_the_output_is_made_of(make, axis):
    layer, x = make(axis, (2, 3)), torch.randn(1, 4, 6, 12).double()
    weights = layer.weights(x)  # (B, G, N, T, T)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    groups = Groups((2, 3), axis)
    values = partition(layer.qkv(x)[..., 24:], groups).unflatten(3, (3, 4)).transpose(2, 3)  # (B, G, N, T, D)
    mixed = (weights @ values).transpose(2, 3).flatten(3)
    torch.testing.assert_close(layer.proj(unpartition(mixed, (4, 6), groups)), layer(x))


@pytest.mark.parametrize("size", [(3, 4), (5,), (2, 3, 2)])
@pytest.mark.parametrize("kind", ["table", "mlp"])
def test_bias_reads_key_minus_query_the_first_side_first(kind, size):
    offsets = tuple(2 * side - 1 for side in size)
    bias = RelativePositionBias(2, size, offsets) if kind == "table" else MLPPositionBias(2, size).eval()
    table = bias.table if kind == "table" else mlp_table(bias, offsets)
    pairs, tokens = bias(), list(itertools.product(*map(range, size)))
    for (q, query), (k, key) in itertools.product(enumerate(tokens), repeat=2):
        at = [b - a + side - 1 for a, b, side in zip(query, key, size, strict=True)]
        torch.testing.assert_close(pairs[:, q, k], table[(slice(None), *at)])


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


def masks(layer, sides):
    """A mask that leaves one group of the first map without a key."""
    mask = torch.rand(2, *sides) < 0.4
    x = torch.arange(mask[0].numel()).view(1, *sides, 1)
    mask[0].view(-1)[partition(x, layer.groups)[0, 0, :, 0]] = False
    return mask


@pytest.mark.parametrize("any_size", [False, True])
@pytest.mark.parametrize(
    ("axis", "sides", "size", "dilation"),
    [
        ("block", (4, 9), (2, 3), None),
        ("grid", (5, 7), (2, 3), None),
        ("grid", (9,), (2,), (2,)),
        ("block", (3, 2, 5), (2, 2, 2), None),
    ],
)
def test_keys_that_are_masked_are_attended_to_by_nobody(make, axis, sides, size, dilation, any_size, monkeypatch):
    attend = F.scaled_dot_product_attention

    def spy(q, k, v, bias):
        assert bias.isfinite().any(-1).all()  # some kernels give NaN for a query without a key
        return attend(q, k, v, bias)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    layer, x = make(axis, size, dilation=dilation), torch.randn(2, *sides, 12).double().requires_grad_()
    layer.any_size = any_size
    mask = masks(layer, sides)
    out, wanted = layer(x, mask), slow_attention(layer, x, mask)
    alone = wanted.isnan().any(-1)
    assert alone[0].any()  # a group without a single key: its tokens get zeros
    torch.testing.assert_close(out, wanted.where(~alone[..., None], 0.0))
    gradients = torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_mask_that_allows_all_changes_nothing(make):
    layer, x = make("grid", (2, 3)), torch.randn(2, 5, 7, 12).double()
    torch.testing.assert_close(layer(x, torch.ones(2, 5, 7, dtype=torch.bool)), layer(x))


@pytest.mark.parametrize(
    "layer",
    [
        BlockAttention(8, (2, 3), head_dim=4),
        GridAttention(8, (2, 3), head_dim=4),
        MaxSA(8, (2, 3), (3, 2), head_dim=4),
        ParallelAttention(8, (2, 3), (3, 2), head_dim=4),
    ],
)
def test_what_is_masked_reaches_no_other_token(layer):
    mask = torch.rand(2, 7, 6) < 0.5
    x, other = torch.randn(2, 2, 8, 7, 6)
    changed = x.where(mask[:, None], other)
    same = mask[:, None].expand_as(x)
    torch.testing.assert_close(layer(changed, mask)[same], layer(x, mask)[same])
    assert not torch.allclose(layer(changed)[same], layer(x)[same])


@pytest.mark.parametrize("mask", [torch.ones(2, 7, 6), torch.ones(2, 6, 7, dtype=torch.bool)])
def test_masks_of_another_type_or_shape_are_refused(mask):
    with pytest.raises(MaxViTError, match=r"takes torch.bool of shape \(2, 7, 6\), True: may be attended to"):
        BlockAttention(8, 2, head_dim=4)(torch.randn(2, 8, 7, 6), mask)


def test_queries_and_keys_are_normalised_before_they_meet(make):
    layer, x = make("grid", (2, 3), dialect=Dialect(qk_norm=True)), torch.randn(1, 4, 6, 12).double()
    q, k, v = layer.qkv(x).unflatten(-1, (3, 3, 4)).unbind(-3)

    def normed(t, norm):
        return t / (t.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight

    by_hand = torch.stack([normed(q, layer.qk_norm.query), normed(k, layer.qk_norm.key), v], -3).flatten(-3)
    torch.testing.assert_close(layer.qk_norm(layer.qkv(x)), by_hand)
    plain = make("grid", (2, 3))
    plain.qkv, plain.bias, plain.proj = torch.nn.Identity(), layer.bias, layer.proj
    torch.testing.assert_close(layer(x), plain(by_hand))  # all that follows is as without
    assert (layer.weights(x) - plain.weights(by_hand)).abs().max() < 1e-12


def test_a_graph_for_any_size_takes_masks_of_any_size():
    layer = GroupAttention(8, "grid", (2, 3), (3, 5), head_dim=4).eval()
    layer.any_size = True
    height, width = torch.export.Dim("height", min=2, max=64), torch.export.Dim("width", min=2, max=64)
    shapes = ({1: height, 2: width}, {1: height, 2: width})
    program = torch.export.export(
        layer, (torch.randn(2, 6, 8, 8), torch.ones(2, 6, 8, dtype=torch.bool)), dynamic_shapes=shapes
    )
    x, mask = torch.randn(2, 7, 5, 8), torch.rand(2, 7, 5) < 0.3
    torch.testing.assert_close(program.module()(x, mask), layer(x, mask))

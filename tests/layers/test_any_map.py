"""Block and grid attention on maps of any sides: a property test, and what must hold where the map divides."""

import random
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import maxvit.layers.attention
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Axis, Size, padded_size
from slow_attention import slow_attention

NORMAL, ALL = 60, 300
SEEDS = [*range(NORMAL), *(pytest.param(s, marks=pytest.mark.full) for s in range(NORMAL, ALL))]
DIVISIBLE = [*range(5), *(pytest.param(s, marks=pytest.mark.full) for s in range(5, 20))]
AXES: tuple[Axis, ...] = ("block", "grid")


@dataclass(frozen=True)
class Case:
    """A map and an attention for it."""

    batch: int
    sides: Size
    axis: Axis
    size: Size
    table_size: Size
    heads: int
    head_dim: int
    dilation: Size | None

    def layer(self) -> GroupAttention:
        """With parameters that make every term of it count."""
        channels = self.heads * self.head_dim
        layer = GroupAttention(channels, self.axis, self.size, self.table_size, self.head_dim, dilation=self.dilation)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return layer

    def map(self) -> Tensor:
        return torch.randn(self.batch, *self.sides, self.heads * self.head_dim)


LONGEST, LARGEST = {1: 400, 2: 64, 3: 12}, {1: 40, 2: 9, 3: 4}  # side of a map and of a window, by the number of sides


def case(seed: int, axis: Axis, dims: int | None = None, divides: bool = False) -> Case:
    """Every side on its own. Half of the maps are images; a third of tables are resized; some grids are dilated."""
    rng = random.Random(f"{axis} {seed}")
    dims = dims or rng.choice((1, 2, 2, 3))

    def each(top: int) -> Size:
        return tuple(rng.randint(1, top) for _ in range(dims))

    size = each(LARGEST[dims])
    sides = each(rng.choice((LARGEST[dims], LONGEST[dims])))  # small maps often: there a group can miss whole rows
    table_size = each(2 * LARGEST[dims] - 1) if rng.random() < 1 / 3 else tuple(2 * side - 1 for side in size)
    if divides:
        sides = tuple(side * rng.randint(1, LONGEST[dims] // side) for side in size)
    dilation = each(3) if axis == "grid" and not divides and rng.random() < 1 / 4 else None
    heads, head_dim = rng.randint(1, 3), rng.choice((2, 3, 5))
    return Case(rng.randint(1, 3), sides, axis, size, table_size, heads, head_dim, dilation)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seed", SEEDS)
def test_result_and_gradients_are_those_of_attention_over_real_tokens_alone(seed, axis):
    torch.manual_seed(seed)
    drawn = case(seed, axis)
    layer, x = drawn.layer().double(), drawn.map().double().requires_grad_()
    fast, slow = layer(x), slow_attention(layer, x)
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-9, msg=lambda m: f"{drawn}: {m}")
    weight, tensors = torch.randn_like(fast), {"x": x, **dict(layer.named_parameters())}
    gradients = (torch.autograd.grad((y * weight).sum(), [*tensors.values()]) for y in (fast, slow))
    for name, ours, theirs in zip(tensors, *gradients, strict=True):
        what = f"gradient of {name}, {drawn}"
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9, msg=lambda m, what=what: f"{what}: {m}")


def test_cases_drawn_are_of_every_kind():
    kinds = dict.fromkeys(("smaller than the window", "divides", "pads", "1 sides", "2 sides", "3 sides", "dilated"), 0)
    for drawn in (case(seed, axis) for seed in range(NORMAL) for axis in AXES):
        kinds["divides" if drawn.sides == padded_size(drawn.sides, drawn.size) else "pads"] += 1
        kinds[f"{len(drawn.sides)} sides"] += 1
        kinds["dilated"] += drawn.dilation is not None
        kinds["smaller than the window"] += any(a < b for a, b in zip(drawn.sides, drawn.size, strict=True))
    assert min(kinds.values()) >= 8, kinds


def unpadded_attention(layer: GroupAttention, x: Tensor) -> Tensor:
    """The same where the map divides, by reshaping it as the paper draws it: an implementation of its own."""
    (batch, height, width, channels), (p, q), heads = x.shape, layer.size, layer.heads
    if layer.axis == "block":
        split, order = (batch, height // p, p, width // q, q), (0, 1, 3, 5, 2, 4, 6)
    else:
        split, order = (batch, p, height // p, q, width // q), (0, 2, 4, 5, 1, 3, 6)
    projected = F.linear(x, layer.qkv.weight, layer.qkv.bias).chunk(3, -1)
    query, key, value = (t.reshape(*split, heads, -1).permute(order) for t in projected)  # (B, G, G', N, p, q, D)
    key = key * key.shape[-1] ** -0.5
    scores = torch.einsum("...abd,...uvd->...abuv", query, key)
    table = layer.bias.table
    for a in range(p):
        for b in range(q):
            seen = table[:, p - 1 - a : 2 * p - 1 - a, q - 1 - b : 2 * q - 1 - b]  # offsets that (a, b) looks along
            scores[..., a, b, :, :] += seen
    weights = scores.flatten(-2).softmax(-1).unflatten(-1, (p, q))
    out = torch.einsum("...abuv,...uvd->...abd", weights, value)
    back = out.permute([order.index(i) for i in range(7)]).reshape(batch, height, width, channels)
    return F.linear(back, layer.proj.weight, layer.proj.bias)


def divisible(seed: int, axis: Axis) -> tuple[GroupAttention, Tensor]:
    """A layer whose table is not resized, and a map that it divides."""
    torch.manual_seed(seed)
    drawn = case(seed, axis, dims=2, divides=True)
    layer = drawn.layer()
    height, width = drawn.size
    layer.bias.table = torch.nn.Parameter(torch.randn(drawn.heads, 2 * height - 1, 2 * width - 1))
    return layer, drawn.map()


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seed", DIVISIBLE)
def test_a_map_that_divides_is_attended_as_if_padding_did_not_exist(seed, axis):
    layer, x = divisible(seed, axis)
    with torch.no_grad():
        ours, theirs = layer.double()(x.double()), unpadded_attention(layer, x.double())
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seed", DIVISIBLE)
def test_a_map_that_divides_makes_no_mask(seed, axis, monkeypatch):
    given = []
    attend = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *qkvb: given.append(qkvb[3]) or attend(*qkvb))
    layer, x = divisible(seed, axis)
    layer(x)
    assert torch.equal(given.pop(), layer.bias())  # (N, T, T), for all groups alike
    taller = F.pad(x, (0, 0, 0, 0, 0, 1))
    layer(taller)
    padded = layer.size[0] > 1  # the spy sees a mask where there is one
    assert torch.isneginf(given.pop()).any() == padded


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seed", DIVISIBLE)
def test_a_mask_of_real_tokens_only_changes_no_bit(seed, axis, monkeypatch):
    layer, x = divisible(seed, axis)
    plain = layer(x)
    tokens = layer.size[0] * layer.size[1]
    all_real = torch.ones(x.shape[1] * x.shape[2] // tokens, tokens, dtype=torch.bool)
    monkeypatch.setattr(maxvit.layers.attention, "real_tokens", lambda *_: all_real)
    assert torch.equal(layer(x), plain)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("seed", DIVISIBLE)
def test_the_path_that_always_masks_changes_no_bit(seed, axis):
    layer, x = divisible(seed, axis)
    plain = layer(x)
    layer.any_size = True
    assert torch.equal(layer(x), plain)

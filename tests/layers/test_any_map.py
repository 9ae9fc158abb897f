"""Block and grid attention on maps of any size: a property test, and what must hold where the map divides."""

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
    hw: Size
    axis: Axis
    size: Size
    table_size: Size
    heads: int
    head_dim: int

    def layer(self) -> GroupAttention:
        """With parameters that make every term of it count."""
        channels = self.heads * self.head_dim
        layer = GroupAttention(channels, self.axis, self.size, self.table_size, self.head_dim)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return layer

    def map(self) -> Tensor:
        return torch.randn(self.batch, *self.hw, self.heads * self.head_dim)


def case(seed: int, axis: Axis, divides: bool = False) -> Case:
    """Sides 1 to 64, windows and grids 1 to 9, height and width on their own; in a third the table is resized."""
    rng = random.Random(f"{axis} {seed}")

    def pair(top: int) -> Size:
        return rng.randint(1, top), rng.randint(1, top)

    size, hw = pair(9), pair(rng.choice((9, 64)))  # small maps more often: there a group can miss whole rows
    table_size = pair(17) if rng.random() < 1 / 3 else (2 * size[0] - 1, 2 * size[1] - 1)
    if divides:
        hw = size[0] * rng.randint(1, 64 // size[0]), size[1] * rng.randint(1, 64 // size[1])
    return Case(rng.randint(1, 3), hw, axis, size, table_size, heads=rng.randint(1, 3), head_dim=rng.choice((2, 3, 5)))


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
    kinds = dict.fromkeys(("smaller than the window", "divides", "pads one side", "pads both sides"), 0)
    for drawn in (case(seed, axis) for seed in range(NORMAL) for axis in AXES):
        pads = sum(a != b for a, b in zip(drawn.hw, padded_size(drawn.hw, drawn.size), strict=True))
        kinds[("divides", "pads one side", "pads both sides")[pads]] += 1
        kinds["smaller than the window"] += any(a < b for a, b in zip(drawn.hw, drawn.size, strict=True))
    assert min(kinds.values()) >= 10, kinds


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
    drawn = case(seed, axis, divides=True)
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

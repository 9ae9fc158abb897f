"""Block and grid attention by their definition, on maps of any size: nothing is padded, nothing is masked.

Each token of the map is visited and told its group and its place there. A group then attends to itself: to the tokens
that exist, and to no others.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from math import ceil, copysign, log

import torch
from torch import Tensor

from maxvit.layers.attention import GroupAttention
from maxvit.layers.position_bias import MLPPositionBias, RelativePositionBias

Pair = tuple[int, int]  # (vertical, horizontal)


def slow_attention(layer: GroupAttention, x: Tensor) -> Tensor:
    """What `layer(x)` must be: (B, H, W, C) -> (B, H, W, C)."""
    hw = (x.shape[1], x.shape[2])
    q, k, v = project(layer, x)
    found, where = [], []
    for at, shares in group_shares(layer, hw, q, k):
        found.append((shares @ v[:, :, at]).flatten(2, 3))  # (B, N, groups * tokens, D)
        where.append(at.flatten())
    ordered, order = torch.cat(where).sort()
    assert torch.equal(ordered, torch.arange(hw[0] * hw[1]))  # every token is in one group
    out = torch.cat(found, 2)[:, :, order].transpose(1, 2).flatten(2).unflatten(1, hw)  # (B, H, W, C)
    return out @ layer.proj.weight.T + layer.proj.bias


def slow_weights(layer: GroupAttention, x: Tensor) -> Tensor:
    """Attention of every token to every other of the map, 0 outside its group: (1, H, W, C) -> (N, H * W, H * W)."""
    q, k, _ = project(layer, x)
    whole = torch.zeros(layer.heads, q.shape[2], q.shape[2])
    for at, shares in group_shares(layer, (x.shape[1], x.shape[2]), q, k):
        for group, of_group in zip(at, shares[0].transpose(0, 1), strict=True):
            whole[:, group[:, None], group] = of_group
    return whole


def project(layer: GroupAttention, x: Tensor) -> Tensor:
    """q, k and v: (B, H, W, C) -> (3, B, N, H * W, D)."""
    tokens = x.flatten(1, 2) @ layer.qkv.weight.T + layer.qkv.bias  # (B, H * W, 3C)
    return tokens.unflatten(2, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)


def group_shares(layer: GroupAttention, hw: Pair, q: Tensor, k: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For groups that are alike: their positions (groups, tokens), attention (B, N, groups, query, key)."""
    sides = 2 * layer.size[0] - 1, 2 * layer.size[1] - 1
    is_table = isinstance(layer.bias, RelativePositionBias)
    table = resized(layer.bias.table, sides) if is_table else mlp_table(layer.bias, sides)
    for places, positions in alike_groups(hw, layer.size, layer.axis):
        at = torch.tensor(positions)  # (groups, tokens)
        y, z = torch.tensor(places).T
        down = y[None, :] - y[:, None] + layer.size[0] - 1  # (query, key): key minus query, from 0
        along = z[None, :] - z[:, None] + layer.size[1] - 1
        scores = q[:, :, at] @ k[:, :, at].transpose(-1, -2) / q.shape[-1] ** 0.5 + table[:, down, along][:, None]
        yield at, scores.softmax(-1)


def alike_groups(hw: Pair, size: Pair, axis: str) -> list[tuple[tuple[Pair, ...], list[list[int]]]]:
    """The groups of a map, those that hold the same places together: (places, positions on the flattened map)."""
    groups = defaultdict(list)
    for i, j in itertools.product(range(hw[0]), range(hw[1])):
        group_i, place_i = home(i, hw[0], size[0], axis)
        group_j, place_j = home(j, hw[1], size[1], axis)
        groups[group_i, group_j].append(((place_i, place_j), i * hw[1] + j))
    alike = defaultdict(list)
    for group in groups.values():
        places, positions = zip(*group, strict=True)
        alike[places].append(list(positions))
    return list(alike.items())


def home(at: int, side: int, size: int, axis: str) -> Pair:
    """(group, place in the group) of a token along one side of the map."""
    if axis == "block":
        return at // size, at % size  # neighbours
    dilation = ceil(side / size)  # the padded side over the grid
    return at % dilation, at // dilation


def mlp_table(bias: MLPPositionBias, sides: Pair) -> Tensor:
    """The bias of each offset, by its network one after the other: (N, *sides), key minus query."""
    table = torch.empty(bias.project.out_features, *sides)
    for i, j in itertools.product(*map(range, sides)):
        offset = sides[0] // 2 - i, sides[1] // 2 - j  # query minus key
        logs = torch.tensor([copysign(log(1 + abs(d)), d) for d in offset])
        hidden = (bias.expand.weight @ logs + bias.expand.bias).clamp(min=0)
        table[:, i, j] = bias.project.weight @ hidden + bias.project.bias
    return table


def resized(table: Tensor, to: Pair) -> Tensor:
    """Bilinear with half-pixel centres, (N, h, w) -> (N, *to): each entry is mixed from the nearest two of a side."""

    def shares(to: int, of: int) -> Tensor:
        centres = ((torch.arange(to, dtype=torch.float64) + 0.5) * of / to - 0.5).clamp(0, of - 1)
        return (1 - (centres[:, None] - torch.arange(of)).abs()).clamp(min=0).to(table.dtype)  # (to, of)

    return shares(to[0], table.shape[1]) @ table @ shares(to[1], table.shape[2]).T

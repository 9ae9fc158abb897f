"""Block and grid attention by their definition, on maps of any sides: nothing is padded, nothing is masked.

Each token of the map is visited and told its group and its place there. A group then attends to itself: to the tokens
that exist, and to no others.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from math import ceil, copysign, log, prod

import torch
from torch import Tensor

from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Groups
from maxvit.layers.position_bias import MLPPositionBias, RelativePositionBias

Place = tuple[int, ...]  # a number for each side


def slow_attention(layer: GroupAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """What `layer(x, mask)` must be: (B, *sides, C) -> (B, *sides, C)."""
    sides = tuple(x.shape[1:-1])
    q, k, v = project(layer, x)
    allowed = torch.ones(x.shape[:-1], dtype=torch.bool) if mask is None else mask
    found, where = [], []
    for at, shares in group_shares(layer, sides, q, k, allowed.flatten(1)):
        found.append((shares @ v[:, :, at]).flatten(2, 3))  # (B, N, groups * tokens, D)
        where.append(at.flatten())
    ordered, order = torch.cat(where).sort()
    assert torch.equal(ordered, torch.arange(prod(sides)))  # every token is in one group
    out = torch.cat(found, 2)[:, :, order].transpose(1, 2).flatten(2).unflatten(1, sides)  # (B, *sides, C)
    return out @ layer.proj.weight.T + layer.proj.bias


def slow_weights(layer: GroupAttention, x: Tensor) -> Tensor:
    """Attention of every token to every other of the map, 0 outside its group: (1, H, W, C) -> (N, H * W, H * W)."""
    q, k, _ = project(layer, x)
    whole = torch.zeros(layer.heads, q.shape[2], q.shape[2])
    allowed = torch.ones(1, q.shape[2], dtype=torch.bool)
    for at, shares in group_shares(layer, (x.shape[1], x.shape[2]), q, k, allowed):
        for group, of_group in zip(at, shares[0].transpose(0, 1), strict=True):
            whole[:, group[:, None], group] = of_group
    return whole


def project(layer: GroupAttention, x: Tensor) -> Tensor:
    """q, k and v: (B, *sides, C) -> (3, B, N, tokens, D)."""
    tokens = x.flatten(1, -2) @ layer.qkv.weight.T + layer.qkv.bias  # (B, tokens, 3C)
    return tokens.unflatten(2, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)


def group_shares(
    layer: GroupAttention, sides: Place, q: Tensor, k: Tensor, allowed: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """For groups that are alike: their positions (groups, tokens), attention (B, N, groups, query, key)."""
    offsets = tuple(2 * side - 1 for side in layer.size)
    is_table = isinstance(layer.bias, RelativePositionBias)
    table = resized(layer.bias.table, offsets) if is_table else mlp_table(layer.bias, offsets)
    for places, positions in alike_groups(sides, layer.groups):
        at = torch.tensor(positions)  # (groups, tokens)
        apart = [
            along[None, :] - along[:, None] + side - 1  # (query, key): key minus query, from 0
            for along, side in zip(torch.tensor(places).T, layer.size, strict=True)
        ]
        scores = q[:, :, at] @ k[:, :, at].transpose(-1, -2) / q.shape[-1] ** 0.5
        scores = scores + table[(slice(None), *apart)][:, None]
        keys = allowed[:, None, at, None].transpose(-1, -2)  # (B, 1, groups, 1, key)
        yield at, scores.masked_fill(~keys, float("-inf")).softmax(-1)


def alike_groups(sides: Place, groups: Groups) -> list[tuple[tuple[Place, ...], list[list[int]]]]:
    """The groups of a map, those that hold the same places together: (places, positions on the flattened map)."""
    found = defaultdict(list)
    for position, at in enumerate(itertools.product(*map(range, sides))):
        homes = [home(i, along, sides[i], groups) for i, along in enumerate(at)]
        group, place = zip(*homes, strict=True)
        found[group].append((place, position))
    alike = defaultdict(list)
    for group in found.values():
        places, positions = zip(*group, strict=True)
        alike[places].append(list(positions))
    return list(alike.items())


def home(i: int, at: int, side: int, groups: Groups) -> tuple[tuple[int, int] | int, int]:
    """(group, place in the group) of a token along side i of the map."""
    size = groups.size[i]
    if groups.axis == "block":
        return at // size, at % size  # neighbours
    if groups.dilation is None:
        step = ceil(side / size)  # the padded side over the grid
        return at % step, at // step
    step = groups.dilation[i]
    return (at // (size * step), at % step), at // step % size


def mlp_table(bias: MLPPositionBias, sides: Place) -> Tensor:
    """The bias of each offset, by its network one after the other: (N, *sides), key minus query."""
    table = torch.empty(bias.project.out_features, *sides)
    for at in itertools.product(*map(range, sides)):
        offset = [side // 2 - i for i, side in zip(at, sides, strict=True)]  # query minus key
        logs = torch.tensor([copysign(log(1 + abs(d)), d) for d in offset])
        hidden = (bias.expand.weight @ logs + bias.expand.bias).clamp(min=0)
        table[(slice(None), *at)] = bias.project.weight @ hidden + bias.project.bias
    return table


def resized(table: Tensor, to: Place) -> Tensor:
    """Linear along each side, with half-pixel centres, (N, *any) -> (N, *to): each is mixed from the nearest two."""

    def shares(to: int, of: int) -> Tensor:
        centres = ((torch.arange(to, dtype=torch.float64) + 0.5) * of / to - 0.5).clamp(0, of - 1)
        return (1 - (centres[:, None] - torch.arange(of)).abs()).clamp(min=0).to(table.dtype)  # (to, of)

    for i, side in enumerate(to, start=1):
        table = (table.movedim(i, -1) @ shares(side, table.shape[i]).T).movedim(-1, i)
    return table

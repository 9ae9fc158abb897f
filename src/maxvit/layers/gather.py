"""The groups of attention by index instead of by shape: one graph for every map size, padded or not.

What `partition`, padding and a slice do with shapes, which a graph fixes, is done here with index arithmetic on the
sides, which may then stay symbols (`torch.export`, ONNX). Places are those of `maxvit.layers.partition`.
"""

from math import prod

import torch
from torch import Tensor

from maxvit.layers.partition import Groups, Size


def group_indices(sides: Size, groups: Groups, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each group's tokens are on a map.

    Returns:
        (G, T) int64, positions on the flattened map, those of padding anywhere on it; and (G, T) bool, which are real.
    """
    cuts = groups.cuts(sides)
    group = torch.arange(prod(cuts[::3]) * prod(cuts[2::3]), device=device)[:, None]
    token = torch.arange(prod(groups.size), device=device)[None, :]
    position, real, stride = torch.zeros_like(token), torch.ones_like(token, dtype=torch.bool), 1
    for side, windows, tokens, step in reversed(list(zip(sides, cuts[::3], cuts[1::3], cuts[2::3], strict=True))):
        group, of_group = _divmod(group, windows * step)
        token, of_token = _divmod(token, tokens)
        window, offset = _divmod(of_group, step)
        at = (window * tokens + of_token) * step + offset
        real = real & (at < side)
        position = position + at.clamp(max=side - 1) * stride
        stride = stride * side
    return position, real


def place_indices(sides: Size, groups: Groups, device: torch.device) -> Tensor:
    """The way back: for each position of the flattened map, where it is among all groups' tokens, int64."""
    position = torch.arange(prod(sides), device=device)
    group, token = torch.zeros_like(position), torch.zeros_like(position)
    groups_before, tokens_before, cuts = 1, 1, groups.cuts(sides)
    for side, windows, tokens, step in reversed(list(zip(sides, cuts[::3], cuts[1::3], cuts[2::3], strict=True))):
        position, at = _divmod(position, side)
        at, offset = _divmod(at, step)
        window, of_token = _divmod(at, tokens)
        group = group + (window * step + offset) * groups_before
        token = token + of_token * tokens_before
        groups_before, tokens_before = groups_before * windows * step, tokens_before * tokens
    return group * tokens_before + token


def _divmod(numbers: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """(quotient, remainder), in operations that ONNX takes with a divisor that is a symbol."""
    quotient = numbers // divisor
    return quotient, numbers - quotient * divisor

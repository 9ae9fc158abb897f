"""Which tokens attend together: windows of neighbours, or a grid spread over the whole map.

The paper's Block and Grid operators (Section 3.2, "Multi-axis Attention"), on maps of 1, 2 or 3 sides of any length:
(B, L, C), (B, H, W, C) or (B, T, H, W, C), in what follows (B, *sides, C). Along each side the place of a token is

    (window * tokens + token) * step + offset

Block attention has a step of 1: windows of neighbours. Grid attention has one window, the side, and a step of
side / tokens. Tokens attend together that share window and offset along every side.

Letters: B batch, C channels, G groups per map, T tokens per group.
"""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Axis = Literal["block", "grid"]
Size = tuple[int, ...]  # a number for each side of a map


class Groups(NamedTuple):
    """Which tokens attend together.

    Attributes:
        size: Tokens of a group along each side.
        axis: "block": neighbours. "grid": spread evenly over the whole map.
        dilation: Of a grid: tokens are so many apart along each side; None: as many as spread it over the whole map.
    """

    size: Size
    axis: Axis
    dilation: Size | None = None

    def cuts(self, sides: Size) -> list[tuple[int, int, int]]:
        """(windows, tokens, step) along each side, whose product is the side, padded at its end if need be."""
        if self.axis == "block":
            return [(_divided(side, tokens), tokens, 1) for side, tokens in zip(sides, self.size, strict=True)]
        if self.dilation is None:
            return [(1, tokens, _divided(side, tokens)) for side, tokens in zip(sides, self.size, strict=True)]
        each = zip(sides, self.size, self.dilation, strict=True)
        return [(_divided(side, tokens * step), tokens, step) for side, tokens, step in each]


def partition(x: Tensor, groups: Groups) -> Tensor:
    """Gather the tokens that attend to one another: (B, *sides, C) -> (B, G, T, C).

    Groups, and tokens within a group, are in row-major order. Where groups reach beyond the map there are zeros.
    """
    cuts, n = groups.cuts(x.shape[1:-1]), x.ndim - 2
    x = _pad(x, cuts).view(x.shape[0], *sum(cuts, ()), x.shape[-1])  # (B, windows, tokens, step, ..., C)
    names_token = range(2, 3 * n + 1, 3)
    names_group = (i for i in range(1, 3 * n + 1) if i not in names_token)
    x = x.permute(0, *names_group, *names_token, 3 * n + 1)
    return x.flatten(2 * n + 1, 3 * n).flatten(1, 2 * n)  # (B, G, T, C)


def unpartition(x: Tensor, sides: Size, groups: Groups) -> Tensor:
    """Undo `partition`: (B, G, T, C) -> (B, *sides, C)."""
    cuts, n = groups.cuts(sides), len(sides)
    each = [(windows, step) for windows, _, step in cuts]
    x = x.view(x.shape[0], *sum(each, ()), *groups.size, x.shape[-1])  # (B, windows, step, ..., tokens, ..., C)
    order = sum(((1 + 2 * i, 1 + 2 * n + i, 2 + 2 * i) for i in range(n)), ())
    x = x.permute(0, *order, 3 * n + 1)  # (B, windows, tokens, step, ..., C)
    for i in range(1, n + 1):
        x = x.flatten(i, i + 2)
    return x[(slice(None), *(slice(side) for side in sides))]  # without padding


def real_tokens(sides: Size, groups: Groups, device: torch.device | None = None) -> Tensor | None:
    """Which tokens of each group are part of the map, and not padding.

    Returns:
        (G, T), bool; None where groups cover the map exactly. Every group of a block or a whole grid has a real token.
    """
    if all(side == a * b * c for side, (a, b, c) in zip(sides, groups.cuts(sides), strict=True)):
        return None
    return partition(torch.ones(1, *sides, 1, dtype=torch.bool, device=device), groups)[0, :, :, 0]


def padded_size(sides: Size, size: Size) -> Size:
    """The smallest multiples of `size` that hold a map of these sides."""
    return tuple(_divided(side, tokens) * tokens for side, tokens in zip(sides, size, strict=True))


def _pad(x: Tensor, cuts: list[tuple[int, int, int]]) -> Tensor:
    """Add zeros at the end of each side."""
    more = [a * b * c - side for side, (a, b, c) in zip(x.shape[1:-1], cuts, strict=True)]
    if not any(more):
        return x  # F.pad would copy it
    return F.pad(x, (0, 0, *(number for side in reversed(more) for number in (0, side))))


def _divided(side: int, by: int) -> int:
    return (side + by - 1) // by  # rounded up, with no negative number: ONNX would round it up

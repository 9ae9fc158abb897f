"""Which tokens attend together: windows of neighbours, or a grid spread over the whole map.

The paper's Block and Grid operators (Section 3.2, "Multi-axis Attention"), on maps of 1, 2 or 3 sides of any length:
(B, L, C), (B, H, W, C) or (B, T, H, W, C), in what follows (B, *sides, C). Along each side the place of a token is

    (window * tokens + token) * step + offset

Block attention has a step of 1: windows of neighbours. Grid attention has one window, the side, and a step of
side / tokens. Tokens attend together that share window and offset along every side.

Letters: B batch, C channels, G groups per map, T tokens per group.
"""

from math import prod
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

    def cuts(self, sides: Size) -> list[int]:
        """Windows, tokens and step along each side, [w, t, s, w, t, s]; w * t * s is the side with its padding."""
        cuts = []
        for i, (side, tokens) in enumerate(zip(sides, self.size, strict=True)):
            if self.axis == "block":
                cuts += [_divided(side, tokens), tokens, 1]
            elif self.dilation is None:
                cuts += [1, tokens, _divided(side, tokens)]
            else:
                cuts += [_divided(side, tokens * self.dilation[i]), tokens, self.dilation[i]]
        return cuts


# The axes of (B, w, t, s, ..., C) in the order of (B, w, s, ..., t, ..., C), and the way back, by the number of sides.
GROUPED = {1: (0, 1, 3, 2, 4), 2: (0, 1, 3, 4, 6, 2, 5, 7), 3: (0, 1, 3, 4, 6, 7, 9, 2, 5, 8, 10)}
PUT_BACK = {n: tuple(order.index(i) for i in range(len(order))) for n, order in GROUPED.items()}


def partition(x: Tensor, groups: Groups) -> Tensor:
    """Gather the tokens that attend to one another: (B, *sides, C) -> (B, G, T, C).

    Groups, and tokens within a group, are in row-major order. Where groups reach beyond the map there are zeros.
    """
    cuts = groups.cuts(x.shape[1:-1])
    batch, channels, number = x.shape[0], x.shape[-1], prod(cuts[::3]) * prod(cuts[2::3])
    x = _pad(x, cuts).view(batch, *cuts, channels).permute(GROUPED[x.ndim - 2])  # (B, w, s, ..., t, ..., C)
    return x.reshape(batch, number, prod(groups.size), channels)


def unpartition(x: Tensor, sides: Size, groups: Groups) -> Tensor:
    """Undo `partition`: (B, G, T, C) -> (B, *sides, C)."""
    cuts, batch, channels = groups.cuts(sides), x.shape[0], x.shape[-1]
    names_group = [cuts[i] for i in range(len(cuts)) if i % 3 != 1]
    x = x.view(batch, *names_group, *groups.size, channels).permute(PUT_BACK[len(sides)])  # (B, w, t, s, ..., C)
    padded = [cuts[i] * cuts[i + 1] * cuts[i + 2] for i in range(0, len(cuts), 3)]
    return x.reshape(batch, *padded, channels)[(slice(None), *map(slice, sides))]


def real_tokens(sides: Size, groups: Groups, device: torch.device | None = None) -> Tensor | None:
    """Which tokens of each group are part of the map, and not padding.

    Returns:
        (G, T), bool; None where groups cover the map exactly. Every group of a block or a whole grid has a real token.
    """
    if not any(_padding(sides, groups.cuts(sides))):
        return None
    return partition(torch.ones(1, *sides, 1, dtype=torch.bool, device=device), groups)[0, :, :, 0]


def padded_size(sides: Size, size: Size) -> Size:
    """The smallest multiples of `size` that hold a map of these sides."""
    return tuple(_divided(side, tokens) * tokens for side, tokens in zip(sides, size, strict=True))


def _pad(x: Tensor, cuts: list[int]) -> Tensor:
    """Add zeros at the end of each side."""
    padding = _padding(x.shape[1:-1], cuts)
    if not any(padding):
        return x  # F.pad would copy it
    return F.pad(x, (0, 0, *(number for more in reversed(padding) for number in (0, more))))


def _padding(sides: Size, cuts: list[int]) -> list[int]:
    return [cuts[3 * i] * cuts[3 * i + 1] * cuts[3 * i + 2] - side for i, side in enumerate(sides)]


def _divided(side: int, by: int) -> int:
    return (side + by - 1) // by  # rounded up, with no negative number: ONNX would round it up

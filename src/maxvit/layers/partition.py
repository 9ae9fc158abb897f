"""Which tokens attend together: windows of neighbours, or a grid spread over the whole map.

The paper's Block and Grid operators (Section 3.2, "Multi-axis Attention"), on maps of 1, 2 or 3 sides of any length:
(B, L, C), (B, H, W, C) or (B, T, H, W, C), in what follows (B, *sides, C). Along each side the place of a token is

    (window * tokens + token) * step + offset

Block attention has a step of 1: windows of neighbours. Grid attention has one window, the side, and a step of
side / tokens, rounded up. Tokens attend together that share window and offset along every side.

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
        dilation: Distance between a grid's tokens along each side; None: what spreads one grid over the whole map.
    """

    size: Size
    axis: Axis
    dilation: Size | None = None

    def span(self) -> Size:  # no property: PyTorch 2.9 compiles none of a named tuple
        """Sides are padded to multiples of it: what one window, or one dilated grid, covers; else a grid's size."""
        if self.dilation is None:
            return self.size
        return tuple(tokens * step for tokens, step in zip(self.size, self.dilation, strict=True))

    def cuts(self, sides: Size) -> list[int]:
        """Windows, tokens and step along each side, [w, t, s, w, t, s]; w * t * s is the side with its padding."""
        each = zip(sides, self.size, self.span(), strict=True)  # rounded up by what ONNX has for symbols
        if self.axis == "grid" and self.dilation is None:
            return [n for side, tokens, _ in each for n in (1, tokens, (side + tokens - 1) // tokens)]
        return [n for side, t, span in each for n in ((side + span - 1) // span, t, span // t)]


# The axes of (B, w, t, s, ..., C) in the order of (B, w, s, ..., t, ..., C), and the way back, by the number of sides.
GROUPED = {1: (0, 1, 3, 2, 4), 2: (0, 1, 3, 4, 6, 2, 5, 7), 3: (0, 1, 3, 4, 6, 7, 9, 2, 5, 8, 10)}
PUT_BACK = {n: tuple(order.index(i) for i in range(len(order))) for n, order in GROUPED.items()}


def partition(x: Tensor, groups: Groups) -> Tensor:
    """Gather the tokens that attend to one another: (B, *sides, C) -> (B, G, T, C).

    Groups, and tokens within a group, are in row-major order. Where groups reach beyond the map there are zeros.
    """
    sides = x.shape[1:-1]
    if any(missing := _missing(sides, groups)):  # F.pad would copy the map in any case
        x = F.pad(x, (0, 0, *(n for more in reversed(missing) for n in (0, more))))
    cuts, batch, channels = groups.cuts(sides), x.shape[0], x.shape[-1]
    x = x.view(batch, *cuts, channels).permute(GROUPED[len(sides)])  # (B, w, s, ..., t, ..., C)
    return x.reshape(batch, prod(cuts[::3]) * prod(cuts[2::3]), prod(groups.size), channels)


def unpartition(x: Tensor, sides: Size, groups: Groups) -> Tensor:
    """Undo `partition`: (B, G, T, C) -> (B, *sides, C)."""
    cuts, batch, channels = groups.cuts(sides), x.shape[0], x.shape[-1]
    windows_and_steps = [n for i, n in enumerate(cuts) if i % 3 != 1]
    x = x.view(batch, *windows_and_steps, *groups.size, channels).permute(PUT_BACK[len(sides)])  # (B, w, t, s, ..., C)
    padded = padded_size(sides, groups.span())
    x = x.reshape(batch, *padded, channels)
    return x if padded == sides else x[(slice(None), *map(slice, sides))]


def real_tokens(sides: Size, groups: Groups, device: torch.device | None = None) -> Tensor | None:
    """Which tokens of each group are part of the map, and not padding.

    Returns:
        (G, T), bool; None where groups cover the map exactly. Every group of a block or a whole grid has a real token.
    """
    padded = padded_size(sides, groups.span())
    if padded == sides:
        return None
    real = torch.zeros(1, *padded, 1, dtype=torch.bool, device=device)
    real[(slice(None), *map(slice, sides))] = True
    return partition(real, groups)[0, :, :, 0]


def padded_size(sides: Size, size: Size) -> Size:
    """The smallest multiples of `size` that hold a map of these sides."""
    return tuple((side + tokens - 1) // tokens * tokens for side, tokens in zip(sides, size, strict=True))


def _missing(sides: Size, groups: Groups) -> list[int]:
    """How many tokens each side lacks."""
    return [-side % span for side, span in zip(sides, groups.span(), strict=True)]

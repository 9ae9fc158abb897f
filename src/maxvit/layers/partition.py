"""Which tokens attend together: windows of neighbours, or a grid spread over the whole map. Any map size.

The paper's Block and Grid operators (Section 3.2, "Multi-axis Attention"), with padding for sides that do not divide.

Letters: B batch, H W map sides, C channels, G groups per image, T tokens per group.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Axis = Literal["block", "grid"]
Size = tuple[int, int]


def padded_size(hw: Size, size: Size) -> Size:
    """The smallest multiples of `size` that hold a map of `hw`."""
    (height, width), (p, q) = hw, size
    return (height + p - 1) // p * p, (width + q - 1) // q * q  # no negative number: ONNX would round it up


def pad(x: Tensor, size: Size) -> Tensor:
    """Add zeros at the bottom and right until `size` divides the map: (B, H, W, C) -> (B, H', W', C)."""
    height, width = padded_size((x.shape[1], x.shape[2]), size)
    if (height, width) == (x.shape[1], x.shape[2]):
        return x  # F.pad would copy it
    return F.pad(x, (0, 0, 0, width - x.shape[2], 0, height - x.shape[1]))


def partition(x: Tensor, size: Size, axis: Axis) -> Tensor:
    """Gather the tokens that attend to one another: (B, H, W, C) -> (B, G, T, C), T = size[0] * size[1].

    Groups, and tokens within a group, are in row-major order.

    Args:
        x: Map whose sides `size` divides.
        size: Tokens of a group, (height, width).
        axis: "block": a group is a window of neighbours. "grid": its tokens are H / size[0] and W / size[1] apart.
    """
    (tile_h, tile_w), order = _layout((x.shape[1], x.shape[2]), size, axis)
    x = x.unflatten(2, (-1, tile_w)).unflatten(1, (-1, tile_h))  # (B, H/th, th, W/tw, tw, C)
    return x.permute(order).flatten(3, 4).flatten(1, 2)  # (B, G, T, C)


def unpartition(x: Tensor, hw: Size, size: Size, axis: Axis) -> Tensor:
    """Undo `partition`: (B, G, T, C) -> (B, H, W, C), with `hw` = (H, W)."""
    _, order = _layout(hw, size, axis)
    x = x.unflatten(2, size).unflatten(1, (hw[0] // size[0], -1))  # (B, H/p, W/q, p, q, C), (p, q) = size
    return x.permute([order.index(i) for i in range(6)]).flatten(3, 4).flatten(1, 2)  # (B, H, W, C)


def real_tokens(hw: Size, size: Size, axis: Axis, device: torch.device | None = None) -> Tensor | None:
    """Which tokens of each group are part of the map, and not padding.

    Returns:
        (G, T), bool; None where the map divides and so nothing is padded. Every group holds a real token.
    """
    height, width = padded_size(hw, size)
    if (height, width) == hw:
        return None
    real = (torch.arange(height, device=device) < hw[0])[:, None] & (torch.arange(width, device=device) < hw[1])
    return partition(real[None, :, :, None], size, axis)[0, :, :, 0]  # (G, T)


def _layout(hw: Size, size: Size, axis: Axis) -> tuple[Size, tuple[int, ...]]:
    """Tile shape, then the order that puts what names a group before what names a token."""
    if hw[0] % size[0] or hw[1] % size[1]:
        raise ValueError(f"{hw[0]} x {hw[1]} map, {axis} size {size}: sides must be multiples of it; pad the map first")
    if axis == "block":  # a tile is a group; its pixels are the tokens
        return size, (0, 1, 3, 2, 4, 5)
    if axis == "grid":  # a tile names the group; which tile it is names the token
        return (hw[0] // size[0], hw[1] // size[1]), (0, 2, 4, 1, 3, 5)
    raise ValueError(f"axis is {axis!r}; choose 'block' or 'grid'")

"""What people hand to the modules of this room, checked before any work is done."""

import torch
from torch import Tensor

from maxvit.config import SIDE_NAMES
from maxvit.errors import MaxViTError
from maxvit.layers.partition import Size


def check_dim(dim: int, head_dim: int) -> None:
    """Refuse channels that do not divide into heads. Raises `MaxViTError`."""
    if head_dim < 1 or dim % head_dim:
        raise MaxViTError(f"dim is {dim}, which is not a multiple of head_dim {head_dim}: change one of them")


def sides_of(name: str, given: int | Size, dims: int | None = None) -> Size:
    """A number for each side of a map.

    Args:
        name: What it is, for messages.
        given: One number for all sides, or one for each.
        dims: How many sides there are; None: as many as are given, 2 where that is one number.

    Raises:
        MaxViTError: If one is below 1, or there are too many or too few.
    """
    sides = (given,) * (dims or 2) if isinstance(given, int) else tuple(given)
    if len(sides) not in ([dims] if dims else SIDE_NAMES) or not all(type(side) is int and side > 0 for side in sides):
        raise MaxViTError(f"the {name} is {given}; it takes whole numbers from 1 up, for {dims or '1, 2 or 3'} sides")
    return sides


def check_map(x: Tensor, dims: int, mask: Tensor | None = None) -> None:
    """Refuse a map that has another number of sides, and a mask of other sides.

    Args:
        x: (B, C, *sides).
        dims: How many sides there are to be.
        mask: (B, *sides), bool, or None.

    Raises:
        MaxViTError: If they do not fit.
    """
    if x.ndim != dims + 2:
        sides = SIDE_NAMES[dims].rstrip(",")
        raise MaxViTError(
            f"the map has shape {tuple(x.shape)}, and the layer takes (batch, channels, {sides}): "
            "make it for other maps with sizes that have a number for each side, such as (2, 7, 7), MBConv with dims"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != (x.shape[0], *x.shape[2:])):
        raise MaxViTError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}; it takes torch.bool of shape "
            f"{(x.shape[0], *x.shape[2:])}, True: may be attended to"
        )

"""A learned scale for each channel of a residual branch (arXiv 2103.17239)."""

import torch
from torch import Tensor, nn

from maxvit.config import Dialect


class LayerScale(nn.Module):
    """Multiply each channel by a number that is learned.

    Args:
        channels: C.
        value: Value of all at first.
    """

    def __init__(self, channels: int, value: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), value))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return x * self.scale


def layer_scale(channels: int, dialect: Dialect) -> LayerScale | None:
    """What scales a branch in a dialect: a `LayerScale`, or nothing."""
    return LayerScale(channels, dialect.layer_scale) if dialect.layer_scale else None


def scaled(scale: LayerScale | None, x: Tensor) -> Tensor:
    """A branch, by its scale if it has one."""
    return x if scale is None else scale(x)

"""The head: numbers in the units of the data, from a network that sees them with mean 0 and deviation 1."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maxvit.config import Size
from maxvit.layers.plain_head import PlainHead
from maxvit.model import Head
from maxvit.tasks.pooled_head import PooledHead


class RegressionHead(nn.Module):
    """A pooled head whose outputs are multiplied by the deviation of the training targets, plus their mean.

    Args:
        head: Head of the backbone; its layers below the classifier are used, not copied.
        outputs: How many numbers an image has.
        dropout: Share of the features that training leaves out before the last layer.

    Attributes:
        target_mean: Mean of the training targets, (outputs,).
        target_deviation: Their standard deviation, (outputs,).
    """

    strides = (32,)
    target_mean: Tensor
    target_deviation: Tensor

    def __init__(self, head: Head | PlainHead, outputs: int, dropout: float) -> None:
        super().__init__()
        self.layers = PooledHead(head, outputs, dropout)
        like = self.layers.scores.weight
        self.register_buffer("target_mean", torch.zeros(outputs, device=like.device, dtype=like.dtype))
        self.register_buffer("target_deviation", torch.ones(outputs, device=like.device, dtype=like.dtype))

    def forward(self, maps: Sequence[Tensor], size: Size, targets: Any = None) -> Tensor:
        """The last map (B, C, H, W) -> values (B, outputs), single precision also where autocast has 16 bits."""
        return self.layers(maps, size) * self.target_deviation + self.target_mean

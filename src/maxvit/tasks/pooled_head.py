"""The head of tasks with a few numbers for each image: what a classifier would see, dropout, and one layer."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from maxvit.config import Size
from maxvit.layers.initialize import initialize
from maxvit.layers.plain_head import PlainHead
from maxvit.model import Head


class PooledHead(nn.Module):
    """Pool, layer norm, dense and tanh of the backbone, with their weights; dropout; linear (paper, App. A.3).

    Args:
        head: Head of the backbone; its layers below the classifier are used, not copied.
        outputs: How many numbers it gives.
        dropout: Share of the features that training leaves out before the last layer.
    """

    strides = (32,)

    def __init__(self, head: Head | PlainHead, outputs: int, dropout: float) -> None:
        super().__init__()
        like = head.norm.weight
        self.features = copy.deepcopy(head, {id(part): part for part in head.children()})
        self.features.classifier = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(like.shape[0], outputs).apply(initialize).to(like.device, like.dtype)

    def forward(self, maps: Sequence[Tensor], size: Size, targets: Any = None) -> Tensor:
        """The last map (B, C, H, W) -> (B, outputs)."""
        return self.scores(self.dropout(self.features(maps[0], pre_logits=True)))

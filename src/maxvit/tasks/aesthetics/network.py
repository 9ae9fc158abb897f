"""The head: what the classifier of the backbone would see, dropout, and one layer to the scores."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from maxvit.config import Size
from maxvit.layers.initialize import initialize
from maxvit.layers.plain_head import PlainHead
from maxvit.model import Head


class AestheticsHead(nn.Module):
    """Pool, layer norm, dense and tanh of the backbone, with their weights; dropout; linear (paper, App. A.3).

    Args:
        head: Head of the backbone; its layers below the classifier are used, not copied.
        num_scores: How many scores people could give.
        dropout: Share of the features that training leaves out before the last layer.
    """

    strides = (32,)

    def __init__(self, head: Head | PlainHead, num_scores: int, dropout: float) -> None:
        super().__init__()
        like = head.norm.weight
        self.features = copy.deepcopy(head, {id(part): part for part in head.children()})
        self.features.classifier = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.scores = nn.Linear(like.shape[0], num_scores).apply(initialize).to(like.device, like.dtype)

    def forward(self, maps: Sequence[Tensor], size: Size, targets: Any = None) -> Tensor:
        """The last map (B, C, H, W) -> logits of the scores (B, num_scores)."""
        return self.scores(self.dropout(self.features(maps[0], pre_logits=True)))


class Shares(nn.Module):
    """A network that gives shares, for export: images (B, C, H, W) -> (B, num_scores), each row sums to 1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """What share of people would give each score."""
        return self.network(images).softmax(1)

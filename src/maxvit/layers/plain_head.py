"""timm's head with no hidden layer, in place of the official one (`maxvit.model.Head`)."""

import torch
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect


class PlainHead(nn.Module):
    """Layer norm of each position, pool, then the classifier."""

    def __init__(self, channels: int, num_classes: int, pool: str, dialect: Dialect = OFFICIAL) -> None:
        super().__init__()
        self.pool = pool
        self.norm = MapNorm(channels, eps=dialect.layer_norm_eps)
        self.classifier = nn.Linear(channels, num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, num_classes), or the (B, C) that the classifier sees; with no pool (B, C, H, W)."""
        x = self.norm(x)
        if not self.pool:
            return x
        x = pooled(x, self.pool)
        return x if pre_logits else self.classifier(x)


class MapNorm(nn.LayerNorm):
    """Layer norm of each position of a map by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def pooled(x: Tensor, pool: str) -> Tensor:
    """(B, C, *sides) -> (B, C), by "avg" or "max"."""
    sides = tuple(range(2, x.ndim))
    return x.mean(sides) if pool == "avg" else x.amax(sides)


torch.fx.wrap("pooled")  # it counts sides, which FX proxies cannot

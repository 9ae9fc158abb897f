"""Class scores from maps within the network: what a classifier sees before, or without, the last stage."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from maxvit.config import MaxViTConfig


class InnerHead(nn.Module):
    """Means of maps in square fields, standardised, then linear.

    Args:
        channels: Sum over the maps.
        fields: Fields on a side.
        num_classes: Number of scores.

    Attributes:
        mean: (F,), the mean of each of the F = channels * fields**2 means over images.
        scale: (F,), the inverse of their deviations, over sqrt(F): scores are then of the size of a weight.
    """

    strides = (8, 16)  # of the second and the third stage

    def __init__(self, channels: int, fields: int, num_classes: int) -> None:
        super().__init__()
        width = channels * fields**2
        self.fields = fields
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.full((width,), width**-0.5))
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (B, C_i, H_i, W_i) -> scores (B, num_classes)."""
        scores: Tensor = self.classifier(self.standardised(maps))
        return scores

    def standardised(self, maps: Sequence[Tensor]) -> Tensor:
        """What the classifier sees, (B, F)."""
        seen: Tensor = (field_means(maps, self.fields) - self.mean) * self.scale
        return seen


def make_inner_head(config: MaxViTConfig) -> InnerHead | None:
    """The head that a configuration asks for, if it does."""
    if not config.inner_fields or not config.num_classes:
        return None
    return InnerHead(sum(config.channels[1:3]), config.inner_fields, config.num_classes)


def field_means(maps: Sequence[Tensor], fields: int) -> Tensor:
    """Adaptive average pooling, (B, C_i, H_i, W_i) -> (B, F), by products that graphs of any size can hold."""
    means = []
    for each in maps:
        rows, columns = (averaging(side, fields, each) for side in each.shape[-2:])
        means.append((rows @ each @ columns.mT).flatten(1))
    return torch.cat(means, 1)


def averaging(side: int, fields: int, like: Tensor) -> Tensor:
    """(fields, side): the weights of a mean in each row; field i holds floor(i * side / fields) and what follows."""
    field = torch.arange(fields, device=like.device)[:, None]
    place = torch.arange(side, device=like.device)
    inside = (place >= field * side // fields) & (place < -(-(field + 1) * side // fields))
    return (inside / inside.sum(1, keepdim=True)).to(like.dtype)

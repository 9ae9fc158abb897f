"""Anchors: the boxes that a detector starts from, at every cell of every level of the pyramid."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Anchors(nn.Module):
    """Boxes of several sizes and shapes around the centre of each cell.

    torchvision's `AnchorGenerator` puts them at a cell's corner, rounds their sides, and takes the distance of cells
    from image and map, which is wrong where a side is not a multiple of the stride; hence our own.

    Args:
        strides: Pixels from cell to cell, a level each.
        sizes: Side in pixels of a square anchor, a level each.
        scales: Each size is multiplied by each of them.
        ratios: Height over width; the area does not change.
    """

    def __init__(
        self, strides: Sequence[int], sizes: Sequence[float], scales: Sequence[float], ratios: Sequence[float]
    ) -> None:
        super().__init__()
        self.strides, self.sizes, self.scales, self.ratios = strides, sizes, scales, ratios

    def num_anchors_per_location(self) -> list[int]:
        """A number for each level, as torchvision asks."""
        return [len(self.scales) * len(self.ratios)] * len(self.strides)

    def levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Boxes (H * W * A, 4) in pixels for each map (B, C, H, W): rows, then columns, then ratios, then scales."""
        return [
            self._level(x.shape[2:], stride, size, x.device)
            for x, stride, size in zip(maps, self.strides, self.sizes, strict=True)
        ]

    def forward(self, images: Any, maps: Sequence[Tensor]) -> list[Tensor]:
        """The boxes of all levels, once for each of torchvision's `images`."""
        boxes = torch.cat(self.levels(maps))
        return [boxes] * len(images.image_sizes)

    def _level(self, shape: torch.Size, stride: int, size: float, device: torch.device) -> Tensor:
        """The anchors of one level."""
        roots = torch.tensor(self.ratios, device=device).sqrt()
        sides = size * torch.tensor(self.scales, device=device)
        extent = torch.stack([sides / roots[:, None], sides * roots[:, None]], -1).flatten(0, 1)  # (A, 2): w, h
        y, x = ((torch.arange(n, device=device) + 0.5) * stride for n in shape)
        centre = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[:, :, None]  # (H, W, 1, 2): x, y
        return torch.cat([centre - extent / 2, centre + extent / 2], -1).flatten(0, 2)  # (H * W * A, 4)

"""A backbone that sees a part of each image, and the decoder that paints the rest."""

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import Size
from maxvit.layers.initialize import initialize
from maxvit.model import MaxViT
from maxvit.tasks.masked.units import CELL, enlarged, fixed_cells
from maxvit.tasks.network import TaskNetwork


class Painter(nn.Module):
    """SimMIM's light decoder, a 1 x 1 convolution and a pixel shuffle, of the last three maps; the sum is the image.

    SimMIM decodes the last map alone. Where an image is small that has few positions, or one, so earlier maps take
    part; where it is large they add what is fine.

    Args:
        backbone: Its maps are decoded.
        unit: Side of a square that evaluation hides, in pixels.
        ratio: Share of an image that evaluation hides.

    Attributes:
        mask_token: What stands in the stem's map for what is hidden, (stem channels,).
    """

    strides = (8, 16, 32)

    def __init__(self, backbone: MaxViT, unit: int, ratio: float) -> None:
        super().__init__()
        like, colours = backbone.any_weight(), backbone.config.in_channels
        self.unit, self.ratio = unit, ratio
        self.mask_token = nn.Parameter(torch.zeros(backbone.pyramid_channels[2], device=like.device, dtype=like.dtype))
        nn.init.normal_(self.mask_token, std=0.02)
        self.layers = nn.ModuleList(
            nn.Conv2d(backbone.pyramid_channels[stride], colours * stride**2, 1) for stride in self.strides
        )
        self.layers.apply(initialize).to(like.device, like.dtype)

    def forward(self, maps: Sequence[Tensor], size: Size, targets: Any = None) -> Tensor:
        """Maps (B, C_i, H / s_i, W / s_i) -> an image (B, C, H, W), normalised, also under autocast in float32."""
        painted = torch.zeros((), device=maps[0].device)
        for layer, stride, each in zip(self.layers, self.strides, maps, strict=True):
            painted = painted + F.pixel_shuffle(layer(each), stride)[..., : size[0], : size[1]].float()
        return painted

    def hide(self, cells: Tensor, x: Tensor) -> Tensor:
        """Put the mask token where cells (B or 1, rows, columns) are hidden in the stem's map (B, C, H, W)."""
        hidden = enlarged(cells, CELL // 2, (x.shape[2], x.shape[3]))
        return torch.where(hidden, self.mask_token[:, None, None].to(x.dtype), x)


class MaskedNetwork(TaskNetwork):
    """Hides units of each image, and gives what it takes the image to be.

    Convolutions of the stem and of MBConv reach beyond a unit, so a token in the stem's map alone would leave the
    colours of hidden pixels in its neighbours. So pixels are hidden twice: they become 0, the mean colour, before the
    stem, which therefore never sees them; and in the stem's map a token takes their place, so that the network can tell
    what is hidden from what is grey. MBConv may then mix hidden and visible positions as it likes.
    """

    def forward(self, images: Tensor, targets: Any = None) -> tuple[Tensor, Tensor]:
        """From images to what they are taken to be.

        Args:
            images: (B, C, H, W), normalised.
            targets: Which cells are hidden, (B, rows, columns) bool; None: those of evaluation.

        Returns:
            The images that are painted, (B, C, H, W) float32, and which pixels were hidden, (B, 1, H, W) bool.
        """
        size, head = (images.shape[2], images.shape[3]), cast(Painter, self.head)
        cells = fixed_cells(size, head.unit, head.ratio)[None] if targets is None else targets
        cells = cells.to(images.device)
        hidden = enlarged(cells, CELL, size)
        seen = torch.where(hidden, torch.zeros((), device=images.device, dtype=images.dtype), images)
        painted: Tensor = head(self.maps(seen, cells), size)
        return painted, hidden.expand(len(images), -1, -1, -1)

    def maps(self, images: Tensor, cells: Tensor | None = None) -> list[Tensor]:
        """What the head sees of images (B, C, H, W), with tokens for some cells; None: with none."""
        head = cast(Painter, self.head)
        return self.backbone.forward_pyramid(images, head.strides, None if cells is None else partial(head.hide, cells))

    def with_embeddings(self, images: Tensor) -> tuple[Any, Tensor]:
        """What is painted where units are hidden, and the mean of the last map of the whole image."""
        return self(images), self.maps(images)[-1].mean((2, 3))

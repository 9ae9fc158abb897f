"""A random piece of a picture, decoded no larger than it is needed: JPEGs decode at 1/2, 1/4 or 1/8 in less time."""

from math import ceil, floor
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from maxvit.config import Preprocessing, Size
from maxvit.data.bands import Bands, Picture, to_tensor
from maxvit.data.images import (
    PLAIN,
    Box,
    ImageLike,
    Source,
    Stored,
    can_shrink,
    crop,
    opened,
    orientation,
    shrink,
    shrink_factor,
    upright,
    upright_size,
    without_tags,
)
from maxvit.data.kept import Kept, once

_HEADER = "header"


class _Header(NamedTuple):
    """What the draw of a crop needs to know of an image."""

    size: Size  # upright
    turned: int
    shrinks: bool  # where it is decoded


class RandomPiece(nn.Module):
    """`RandomResizedCrop` that draws the crop from the picture's size before it is decoded.

    A JPEG is then decoded at a half, a quarter or an eighth of its size, where the crop still has as many pixels as
    are wanted in both directions; everything else is decoded whole. The crop is the same either way. For training:
    evaluation decodes whole, as pixels differ a little.

    Args:
        size: (height, width) to produce.
        area: Least and largest share of the picture.
        aspect: Least and largest width over height.
        spec: As `maxvit.data.images.decode` takes it.
    """

    def __init__(
        self, size: Size, area: tuple[float, float], aspect: tuple[float, float], spec: Preprocessing = PLAIN
    ) -> None:
        super().__init__()
        self.size, self.spec = size, spec
        self.crop = v2.RandomResizedCrop(size, area, aspect, InterpolationMode.BICUBIC, antialias=True)

    def forward(self, source: Source) -> Tensor:
        """(C, H, W) uint8 of the size wanted; draws from PyTorch's random numbers.

        Raises:
            MaxViTError: If it is not an image.
        """
        header: _Header | None = source.get(_HEADER) if isinstance(source, Kept) else None
        if header is None:
            stored = source.read() if isinstance(source, Kept) else source
            with opened(stored) as image:
                yours = isinstance(stored, Image.Image)  # and stays as it is
                header = _Header(upright_size(image), orientation(image), not yours and can_shrink(image))
                box = self.draw(header.size)
                picture, factor = self._decode(image, self._factor(header, box))
            if isinstance(source, Kept):
                source.keep(_HEADER, header)
                source.keep(factor, (without_tags(picture), factor))
        else:
            box = self.draw(header.size)
            wanted = self._factor(header, box)
            picture, factor = once(source, wanted, lambda stored: self._open(stored, wanted))
        whole, turned = header.size, header.turned
        # sides are rounded up, so the last stored row and column may be partly outside; turned, they are the first
        down = picture.height - whole[0] / factor if turned in (3, 4, 7, 8) else 0.0
        across = picture.width - whole[1] / factor if turned in (2, 3, 6, 7) else 0.0
        top, left, height, width = (v / factor for v in box)
        edges = (left + across, top + down, left + across + width, top + down + height)
        return _resized(picture, edges, self.size)

    def _factor(self, header: _Header, box: Box) -> int:
        return shrink_factor(box, self.size) if header.shrinks else 1

    def _decode(self, image: Stored, wanted: int) -> tuple[Picture, int]:
        """The picture, and by how much it has shrunk."""
        factor = shrink(image, wanted)
        return upright(image, self.spec), factor

    def _open(self, stored: ImageLike, wanted: int) -> tuple[Picture, int]:
        with opened(stored) as image:
            picture, factor = self._decode(image, wanted)
        return without_tags(picture), factor

    def draw(self, whole: Size) -> Box:
        """The box of one crop, in pixels of the picture as a person sees it."""
        drawn = self.crop.make_params([torch.empty(1, *whole, device="meta")])
        return drawn["top"], drawn["left"], drawn["height"], drawn["width"]


def _resized(picture: Picture, edges: tuple[float, float, float, float], size: Size) -> Tensor:
    """What is between the edges; nothing outside it is mixed in, but parts of pixels."""
    left, top, right, bottom = edges
    outer = floor(left), floor(top), ceil(right), ceil(bottom)
    piece = crop(picture, outer)
    if outer == edges:  # whole pixels: PyTorch resizes them faster
        return F.resize(_pixels(piece), list(size), InterpolationMode.BICUBIC, antialias=True)
    inside = (left - outer[0], top - outer[1], right - outer[0], bottom - outer[1])
    return _pixels(piece.resize((size[1], size[0]), Image.Resampling.BICUBIC, inside))


def _pixels(picture: Picture) -> Tensor:
    return to_tensor(picture) if isinstance(picture, Bands) else F.pil_to_tensor(picture)

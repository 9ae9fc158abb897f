"""A random piece of an image, for tasks in which small crops, stretches and colours would change what is learned."""

from typing import Annotated

import torch
from PIL import Image
from pydantic import AfterValidator

from maxvit.config import Preprocessing
from maxvit.data.bands import Picture
from maxvit.data.images import Source, decode


def _check_area(area: tuple[float, float]) -> tuple[float, float]:
    if not 0 < area[0] <= area[1] <= 1:
        raise ValueError("crop_area takes two shares above 0, up to 1, the smaller one first")
    return area


PieceArea = Annotated[tuple[float, float], AfterValidator(_check_area)]  # of the largest piece: from and to


def random_piece(source: Source, spec: Preprocessing, area: tuple[float, float], flip: bool) -> Picture:
    """A piece of an image at a random place, of `spec.image_size`, and perhaps mirrored.

    With fit "squash" the piece has the shape of the whole image and is squeezed, as evaluation squeezes the whole; it
    shows the composition. Else it has the shape of `spec.image_size` and nothing is distorted.

    Args:
        source: Anything that is an image.
        spec: Size, fit and interpolation.
        area: Smallest and largest share of the largest such piece, of which one is drawn.
        flip: Mirror half of them.
    """
    image = decode(source, spec)
    share, right, down, mirrored = torch.rand(4).tolist()
    shape = (image.height, image.width) if spec.fit == "squash" else spec.image_size
    scale = min(image.height / shape[0], image.width / shape[1]) * (area[0] + share * (area[1] - area[0])) ** 0.5
    height, width = min(shape[0] * scale, image.height), min(shape[1] * scale, image.width)  # but for rounding
    left, top = right * (image.width - width), down * (image.height - height)
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    method = Image.Resampling.BILINEAR if spec.interpolation == "bilinear" else Image.Resampling.BICUBIC
    piece = image.resize((spec.image_size[1], spec.image_size[0]), method, box)
    return piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip and mirrored < 0.5 else piece

"""Where on the image the tokens of a map lie."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from maxvit.layers.partition import Size

Cell = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the image; right and bottom are not part of it


def stride_of(map_hw: Size, image_hw: Size) -> int | None:
    """Pixels of a token's side, a power of 2; None for a map of a resolution that no layer has."""
    stride = 1
    while stride < 2 * max(image_hw):
        if tuple(-(-side // stride) for side in image_hw) == tuple(map_hw):
            return stride
        stride *= 2
    return None


def cell(row: int, column: int, stride: int, image_hw: Size) -> Cell:
    """The pixels that average pooling gathers into one token; the last ones of a side may have fewer."""
    height, width = image_hw
    right, bottom = min((column + 1) * stride, width), min((row + 1) * stride, height)
    return column * stride, row * stride, right, bottom


def enlarge(values: Tensor, image_hw: Size, mode: Literal["bilinear", "nearest"]) -> Tensor:
    """A map at the resolution of the image, (h, w) -> (H, W): each token over its cell; other maps are stretched."""
    stride = stride_of((values.shape[0], values.shape[1]), image_hw)
    size = image_hw if stride is None else (values.shape[0] * stride, values.shape[1] * stride)
    flags = {"align_corners": False} if mode == "bilinear" else {}
    large = F.interpolate(values[None, None], size, mode=mode, **flags)[0, 0]
    return large[: image_hw[0], : image_hw[1]]

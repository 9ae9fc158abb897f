"""How kernels of 3 x 3 depthwise convolutions walk over maps (B, H, W, C): down strips, a row of pixels at a time."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.maps import divided

PIXELS = (4, 16)  # side by side in a tile, at least and at most
NUMBERS = 512  # of a tile: 4 a thread, so that nine sums of each and the taps stay in registers
ROWS = 32  # that a program slides down at once, at most: two more, of the neighbour, are little compared with them
PROGRAMS = 256  # that share the map; fixed, so that sums are the same on every GPU


class Strips(NamedTuple):
    """How strips of a map, some columns wide and some rows high, are dealt out to programs."""

    grid: tuple[int, int]
    runtime: tuple[int, ...]  # see the kernels
    constants: tuple[int, int, int]  # stride, pixels and channels of a tile

    @classmethod
    def over(cls, x: Tensor, stride: int, symmetric: bool, down: int, along: int) -> "Strips":
        """Strips of `down` rows and `along` columns, as the kernel counts them."""
        batch, height, width, channels = x.shape
        pixels = max(PIXELS[0], min(PIXELS[1], 1 << max(0, along - 1).bit_length()))
        block = NUMBERS // pixels
        bands, strips = divided(down, ROWS), divided(along, pixels)
        units = batch * bands * strips
        each = max(1, divided(units, PROGRAMS))
        sizes = (height, width, channels, down, along, *padding(x, symmetric or stride == 1))
        runtime = (*sizes, units, bands, strips, divided(down, max(1, bands)), each)
        return cls((divided(units, each), divided(channels, block)), runtime, (stride, pixels, block))


def padding(x: Tensor, symmetric: bool) -> tuple[int, int]:
    """Rows of zeros above a map and columns to its left; see `SameConv2d`."""
    return (1, 1) if symmetric else (x.shape[1] % 2, x.shape[2] % 2)


@triton.jit
def strip(unit, down, bands, strips, high, PIXELS: tl.constexpr):
    """The image of a strip, its first row and the one behind its last, and its columns [PIXELS]."""
    band = (unit // strips) % bands
    column = (unit % strips) * PIXELS + tl.arange(0, PIXELS)
    return unit // (strips * bands), band * high, min((band + 1) * high, down), column


@triton.jit
def row_at(image, row, column, height, width, channel, channels):
    """Where the pixels of a row are, [PIXELS, BLOCK], and whether there are such."""
    pixel = (image.to(tl.int64) * height + row) * width + column
    real = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return pixel[:, None] * channels + channel[None, :], real[:, None] & (channel < channels)[None, :]

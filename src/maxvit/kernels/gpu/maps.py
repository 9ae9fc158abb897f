"""How kernels that work on one pixel at a time pass over maps (B, H, W, C), and a batch norm inside them."""

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

ROWS, COLUMNS = 32, 64  # pixels and channels of a tile: 16 numbers a thread, of which a kernel holds several
REGISTERS = 128  # of a thread, where the compiler would aim at fewer and spill
PROGRAMS = 512  # that share the pixels; fixed, so that sums are the same on every GPU


def divided(number: int, by: int) -> int:
    """Rounded up; `triton.cdiv` is also for kernels, and takes microseconds."""
    return -(-number // by)


class Pass(NamedTuple):
    """How the pixels of a map are dealt out to programs."""

    grid: tuple[int, int]  # (images * chunks, blocks of channels)
    sizes: tuple[int, int, int, int]  # pixels of an image, channels, chunks of an image, pixels of a chunk

    @classmethod
    def over(cls, x: Tensor, by_image: bool = False) -> "Pass":
        """Over a map (B, H, W, C); sums are of parts of an image, or of parts of all."""
        images, pixels = (x.shape[0], x.shape[1:3].numel()) if by_image else (1, x.shape[:3].numel())
        each = max(1, divided(images * divided(pixels, ROWS), PROGRAMS)) * ROWS
        chunks = divided(pixels, each)
        return cls((images * chunks, divided(x.shape[3], COLUMNS)), (pixels, x.shape[3], chunks, each))

    @property
    def chunks(self) -> int:
        return self.sizes[2]


@triton.jit
def chunk_of(pixels, chunks, each):
    """The image that a program works on, and its first and last pixel there."""
    first = (tl.program_id(0) % chunks) * each
    return tl.program_id(0) // chunks, first, min(first + each, pixels)


@triton.jit
def channels_of(COLUMNS: tl.constexpr):
    """The channels that a program works on, [COLUMNS]."""
    return tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)


@triton.jit
def tile_of(image, first, pixels, column, channels, ROWS: tl.constexpr):
    """Where the numbers of a tile are, [ROWS, COLUMNS], and whether there are such."""
    row = first + tl.arange(0, ROWS)
    at = (image.to(tl.int64) * pixels + row)[:, None] * channels + column[None, :]
    return at, (row < pixels)[:, None] & (column < channels)[None, :]


@triton.jit
def norm_of(found, weight, bias, column, channels):
    """What a norm does to a channel, as (x - mean) * scale + shift: each [COLUMNS]."""
    there = column < channels
    mean = tl.load(found + column, mask=there, other=0.0)
    scale = tl.load(found + channels + column, mask=there, other=0.0)
    scale *= tl.load(weight + column, mask=there, other=0.0).to(tl.float32)
    return mean, scale, tl.load(bias + column, mask=there, other=0.0).to(tl.float32)


@triton.jit
def load(x, at, real):
    """A tile of a map in float32."""
    return tl.load(x + at, mask=real, other=0.0).to(tl.float32)


@triton.jit
def by_channel(x, column, channels):
    """Numbers of the channels, [COLUMNS], in float32."""
    return tl.load(x + column, mask=column < channels, other=0.0).to(tl.float32)

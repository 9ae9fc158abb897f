"""MBConv's depthwise convolution for inference: filter, bias, GELU and squeeze-and-excite's mean in one pass.

Letters: B batch, H W map sides, H' W' sides after the stride, C channels of the hidden map.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant, gelu, named
from maxvit.kernels.gpu.support import operator

COLUMNS, ROWS = 8, 4  # of a tile: nearly square, so that its nine views overlap in the cache
CHANNELS = 64  # of a tile: a cache line in 16-bit types


@operator("maxvit::filtered")
def filtered(
    hidden: Tensor, taps: Tensor, bias: Tensor, stride: int, symmetric: bool, erf: bool
) -> tuple[Tensor, Tensor]:
    """GELU of the depthwise 3 x 3 convolution of a map, and its mean. No gradients.

    Args:
        hidden: (B, H, W, C), dense; float32, bfloat16 or float16.
        taps: (9, C), row by row; float32 or the map's type.
        bias: (C,), likewise.
        stride: 1 or 2.
        symmetric: Padding at stride 2, see `maxvit.layers.mbconv.SameConv2d`.
        erf: GELU's formula, see `maxvit.kernels.gpu.activation.is_erf`.

    Returns:
        (B, H', W', C) of the map's type, and its mean over H' and W', (B, C) in float32, taken before rounding.
    """
    hidden, taps, bias = hidden.contiguous(), taps.contiguous(), bias.contiguous()
    batch, height, width, channels = hidden.shape
    sides = Sides.of(height, width, stride, symmetric)
    down, along = triton.cdiv(sides.rows, ROWS), triton.cdiv(sides.columns, COLUMNS)
    out = hidden.new_empty(batch, sides.rows, sides.columns, channels)
    shares = hidden.new_empty(batch, down * along, channels, dtype=torch.float32)
    if out.numel():
        _filter[batch * down * along, triton.cdiv(channels, CHANNELS)](
            hidden,
            taps,
            bias,
            out,
            shares,
            along,
            down * along,
            *sides,
            C=channels,
            STRIDE=stride,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            CHANNELS=CHANNELS,
            FORMULA=constant(hidden, named(erf)),
        )
    return out, shares.sum(1)


class Sides(NamedTuple):
    """How a 3 x 3 convolution is placed on a map."""

    height: int
    width: int
    rows: int  # H'
    columns: int  # W'
    above: int  # rows of padding before the first
    left: int

    @classmethod
    def of(cls, height: int, width: int, stride: int, symmetric: bool) -> "Sides":
        """Padding as `maxvit.layers.mbconv.SameConv2d` has it."""
        above, left = (1, 1) if stride == 1 or symmetric else (height % 2, width % 2)
        return cls(height, width, -(-height // stride), -(-width // stride), above, left)


@triton.jit
def _filter(
    hidden,
    taps,
    bias,
    out,
    shares,
    along,
    tiles,
    height,
    width,
    rows,
    columns,
    above,
    left,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    FORMULA: tl.constexpr,
):
    image, tile = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles
    slot = tl.arange(0, ROWS * COLUMNS)
    row, column = tile // along * ROWS + slot // COLUMNS, tile % along * COLUMNS + slot % COLUMNS
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < C
    y = tl.zeros([ROWS * COLUMNS, CHANNELS], tl.float32)
    for tap in tl.static_range(9):
        i, j = row * STRIDE - above + tap // 3, column * STRIDE - left + tap % 3
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        at = ((image * height + i) * width + j)[:, None] * C + channel[None, :]
        x = tl.load(hidden + at, mask=inside[:, None] & there[None, :], other=0.0)  # [ROWS * COLUMNS, CHANNELS]
        y += x.to(tl.float32) * tl.load(taps + tap * C + channel, mask=there, other=0.0).to(tl.float32)[None, :]
    y = gelu(y + tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)[None, :], FORMULA)
    real = (row < rows) & (column < columns)
    to = ((image * rows + row) * columns + column)[:, None] * C + channel[None, :]
    tl.store(out + to, y.to(out.dtype.element_ty), mask=real[:, None] & there[None, :])
    share = tl.sum(tl.where(real[:, None], y, 0.0), 0) / (rows * columns)
    tl.store(shares + (image * tiles + tile) * C + channel, share, mask=there)


@filtered.register_fake
def _shapes(
    hidden: Tensor, taps: Tensor, bias: Tensor, stride: int, symmetric: bool, erf: bool
) -> tuple[Tensor, Tensor]:
    batch, height, width, channels = hidden.shape
    out = hidden.new_empty(batch, -(-height // stride), -(-width // stride), channels)
    return out, hidden.new_empty(batch, channels, dtype=torch.float32)

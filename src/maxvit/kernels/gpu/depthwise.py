"""MBConv's depthwise convolution for inference: filter, bias, GELU and shares of the mean in one pass.

A program walks down a strip of the map, a few columns wide. It reads each row once (thrice, shifted, from the cache)
and adds it to the output rows above, level and below, which stay in registers.

Letters: B batch, H W map sides, H' W' sides after the stride, C channels of the hidden map.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant, gelu, named
from maxvit.kernels.gpu.support import operator

COLUMNS, CHANNELS = 4, 64  # of a tile: few registers; and a cache line of channels in 16-bit types
PROGRAMS = 4096  # wanted: several for each multiprocessor; fixed, so that sums are the same on every GPU
FEWEST_ROWS = 7  # of a program, which reads two more


@operator("maxvit::filtered")
def filtered(
    hidden: Tensor, taps: Tensor, bias: Tensor, stride: int, symmetric: bool, erf: bool
) -> tuple[Tensor, Tensor]:
    """GELU of the depthwise 3 x 3 convolution of a map, and shares of its mean. No gradients.

    Args:
        hidden: (B, H, W, C), dense; float32, bfloat16 or float16.
        taps: (9, C), row by row; float32 or the map's type.
        bias: (C,), likewise.
        stride: 1 or 2.
        symmetric: Padding at stride 2, see `maxvit.layers.mbconv.SameConv2d`.
        erf: GELU's formula, see `maxvit.kernels.gpu.activation.is_erf`.

    Returns:
        (B, H', W', C) of the map's type, and (B, P, C) in float32: what P parts of the map give to its mean over H' and
        W', which is their sum, taken before rounding.
    """
    hidden, taps, bias = hidden.contiguous(), taps.contiguous(), bias.contiguous()
    batch, height, width, channels = hidden.shape
    sides, (rows, bands, strips) = Sides.of(height, width, stride, symmetric), parts(hidden, stride)
    blocks = triton.cdiv(channels, CHANNELS)
    out, shares = _shapes(hidden, taps, bias, stride, symmetric, erf)
    if out.numel():
        _filter[batch * bands * strips, blocks](
            hidden,
            taps,
            bias,
            out,
            shares,
            bands,
            strips,
            rows,
            *sides,
            C=channels,
            STRIDE=stride,
            COLUMNS=COLUMNS,
            CHANNELS=CHANNELS,
            FORMULA=constant(hidden, named(erf)),
            num_warps=2,
        )
    return out, shares


def parts(hidden: Tensor, stride: int) -> tuple[int, int, int]:
    """Output rows of a program; and bands of so many rows and strips of columns, that a map is divided into."""
    batch, height, width, channels = hidden.shape
    down, strips = -(-height // stride), -(-width // (stride * COLUMNS))
    rows = rows_of_program(down, batch * strips * -(-channels // CHANNELS), PROGRAMS)
    return rows, -(-down // rows), strips


def rows_of_program(rows: int, others: int, programs: int) -> int:
    """Output rows of a program: all, but where that leaves too few programs."""
    bands = min(-(-programs // max(1, others)), -(-rows // FEWEST_ROWS))
    return -(-rows // bands)


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
    bands,
    strips,
    each,
    height,
    width,
    rows,
    columns,
    above,
    left,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    COLUMNS: tl.constexpr,
    CHANNELS: tl.constexpr,
    FORMULA: tl.constexpr,
):
    part, channel = tl.program_id(0), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    image, first = (part // (bands * strips)).to(tl.int64), part // strips % bands * each
    column = part % strips * COLUMNS + tl.arange(0, COLUMNS)
    near = column * STRIDE - left  # of the three input columns, the first
    there = (channel < C)[None, :]
    inside0, inside1 = ((near >= 0) & (near < width))[:, None] & there, (near + 1 < width)[:, None] & there
    inside2, real = (near + 2 < width)[:, None] & there, (column < columns)[:, None] & there
    x, top = hidden + (near[:, None] * C + channel[None, :]), image * height
    y_at = out + (column[:, None] * C + channel[None, :])
    k = taps + channel[None, :]
    k0, k1, k2 = _tap(k, there), _tap(k + C, there), _tap(k + 2 * C, there)
    k3, k4, k5 = _tap(k + 3 * C, there), _tap(k + 4 * C, there), _tap(k + 5 * C, there)
    k6, k7, k8 = _tap(k + 6 * C, there), _tap(k + 7 * C, there), _tap(k + 8 * C, there)
    b = _tap(bias + channel[None, :], there)
    total = tl.zeros([COLUMNS, CHANNELS], tl.float32)
    i = first * STRIDE - above
    v0, v1, v2 = _row(x, top, i, height, width, inside0, inside1, inside2, C)
    level = b + v0 * k0 + v1 * k1 + v2 * k2  # an output row that lacks its last input row
    below = level  # at stride 1, the one that lacks two
    if STRIDE == 1:
        v0, v1, v2 = _row(x, top, i + 1, height, width, inside0, inside1, inside2, C)
        level += v0 * k3 + v1 * k4 + v2 * k5
        below = b + v0 * k0 + v1 * k1 + v2 * k2
    for row in range(first, min(first + each, rows)):
        i = row * STRIDE - above + 2
        if STRIDE == 2:
            v0, v1, v2 = _row(x, top, i - 1, height, width, inside0, inside1, inside2, C)
            level += v0 * k3 + v1 * k4 + v2 * k5
        v0, v1, v2 = _row(x, top, i, height, width, inside0, inside1, inside2, C)
        y = gelu(level + v0 * k6 + v1 * k7 + v2 * k8, FORMULA)  # [COLUMNS, CHANNELS]
        tl.store(y_at + (image * rows + row) * columns * C, y.to(out.dtype.element_ty), mask=real)
        total += tl.where(real, y, 0.0)
        if STRIDE == 1:
            level = below + v0 * k3 + v1 * k4 + v2 * k5
            below = b + v0 * k0 + v1 * k1 + v2 * k2
        else:
            level = b + v0 * k0 + v1 * k1 + v2 * k2
    share = tl.sum(total, 0) / (rows * columns)
    tl.store(shares + part.to(tl.int64) * C + channel, share, mask=channel < C)


@triton.jit
def _tap(at, there):
    """What stands before a filter's nine products or at one of them, [1, CHANNELS]."""
    return tl.load(at, mask=there, other=0.0).to(tl.float32)


@triton.jit
def _row(x, top, i, height, width, inside0, inside1, inside2, C: tl.constexpr):
    """An input row thrice, from three columns on; zero outside the map."""
    level, x = (i >= 0) & (i < height), x + (top + i) * width * C
    v0 = tl.load(x, mask=inside0 & level, other=0.0).to(tl.float32)  # [COLUMNS, CHANNELS]
    v1 = tl.load(x + C, mask=inside1 & level, other=0.0).to(tl.float32)
    v2 = tl.load(x + 2 * C, mask=inside2 & level, other=0.0).to(tl.float32)
    return v0, v1, v2


@filtered.register_fake
def _shapes(
    hidden: Tensor, taps: Tensor, bias: Tensor, stride: int, symmetric: bool, erf: bool
) -> tuple[Tensor, Tensor]:
    batch, height, width, channels = hidden.shape
    out = hidden.new_empty(batch, -(-height // stride), -(-width // stride), channels)
    _, bands, strips = parts(hidden, stride)
    return out, hidden.new_empty(batch, bands * strips, channels, dtype=torch.float32)

"""MBConv up to its squeeze for inference: expansion, GELU, depthwise convolution, GELU and mean in one kernel.

A program walks down a strip of the map, one output row a step. It expands each row of the map for a block of hidden
channels, and adds it to the output rows above, level and below while it is in registers: the expanded map is never in
memory. In the nine views of a pixel's neighbourhood, rows thus cost nothing, and columns are shifts within a row.

Networks do not use it: two kernels (`mbconv.py`) are predicted to be faster. Until both are timed on a card it is kept
beside them in `benchmarks/gpu_kernels.py`; then one of them goes.

Letters: B batch, H W map sides, H' W' sides after the stride, C channels of the hidden map.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant, gelu, named
from maxvit.kernels.gpu.depthwise import Sides, rows_of_program
from maxvit.kernels.gpu.support import operator, precision

WIDEST = 128  # input channels: a block's weights stay on the chip
SLOTS = (32, 16)  # of a row of the tile: a shift stays within a warp's 32 lanes, and a product takes 16 at least
PROGRAMS = 512  # wanted: several for each multiprocessor; fixed, so that sums are the same on every GPU


@operator("maxvit::expanded_filtered")
def expanded_filtered(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    taps: Tensor,
    taps_bias: Tensor,
    stride: int,
    symmetric: bool,
    erf: bool,
) -> tuple[Tensor, Tensor]:
    """`maxvit.kernels.gpu.depthwise.filtered` of GELU of a 1 x 1 convolution. No gradients.

    Args:
        x: (B, H, W, C_in), dense, C_in up to `WIDEST`; float32, bfloat16 or float16.
        weight: Weight of the 1 x 1 convolution, (C, C_in), of the map's type.
        bias: Its bias, (C,); float32 or the map's type.
        taps: Taps of the depthwise convolution, (9, C), row by row; likewise.
        taps_bias: Its bias, (C,); likewise.
        stride: Stride of the depthwise convolution, 1 or 2.
        symmetric: Its padding at stride 2, see `maxvit.layers.mbconv.SameConv2d`.
        erf: GELU's formula, see `maxvit.kernels.gpu.activation.is_erf`.

    Returns:
        (B, H', W', C) of the map's type, and its mean over H' and W', (B, C) in float32, taken before rounding.
    """
    batch, height, width, inner = x.shape
    assert inner <= WIDEST, f"{inner} channels, which is more than {WIDEST}"
    x, weight, bias, taps, taps_bias = (t.contiguous() for t in (x, weight, bias, taps, taps_bias))
    sides, channels = Sides.of(height, width, stride, symmetric), weight.shape[0]
    slots, valid = strip(sides.columns, stride)
    # Hidden channels of a program, and rows in flight: without tensor cores float32 needs the registers otherwise.
    tile, stages = (64, 2) if x.element_size() == 2 else (16, 1)
    blocks, strips = triton.cdiv(channels, tile), triton.cdiv(sides.columns, valid)
    rows = rows_of_program(sides.rows, batch * blocks * strips, PROGRAMS)
    bands = triton.cdiv(sides.rows, rows)
    out = x.new_empty(batch, sides.rows, sides.columns, channels)
    shares = x.new_empty(batch, bands * strips, channels, dtype=torch.float32)
    if out.numel():
        _expand_filter[(batch * bands * strips * blocks,)](
            x,
            weight,
            bias,
            taps,
            taps_bias,
            out,
            shares,
            bands,
            strips,
            rows,
            *sides,
            C_IN=inner,
            C=channels,
            STRIDE=stride,
            SLOTS=slots,
            VALID=valid,
            INNER=max(16, triton.next_power_of_2(inner)),
            CHANNELS=tile,
            FORMULA=constant(x, named(erf)),
            PRECISION=precision(x),
            num_warps=8,
            num_stages=stages,
        )
    return out, shares.sum(1)


def strip(columns: int, stride: int) -> tuple[int, int]:
    """Slots of a row of the tile, and the output columns that they serve: the fewest slots for a whole row.

    At stride 1 a column takes two slots beyond its own; at stride 2 even and odd columns are tiles of their own, and a
    column takes one more even one.
    """
    valid = {slots: slots - (3 - stride) for slots in SLOTS}
    best = min(SLOTS, key=lambda slots: -(-columns // valid[slots]) * slots)
    return best, valid[best]


@triton.jit
def _expand_filter(
    x,
    weight,
    bias,
    taps,
    taps_bias,
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
    C_IN: tl.constexpr,
    C: tl.constexpr,
    STRIDE: tl.constexpr,
    SLOTS: tl.constexpr,
    VALID: tl.constexpr,
    INNER: tl.constexpr,
    CHANNELS: tl.constexpr,
    FORMULA: tl.constexpr,
    PRECISION: tl.constexpr,
):
    blocks = tl.cdiv(C, CHANNELS)  # neighbours read the same rows of x
    channel, part = tl.program_id(0) % blocks * CHANNELS + tl.arange(0, CHANNELS), tl.program_id(0) // blocks
    image, first = (part // (bands * strips)).to(tl.int64), part // strips % bands * each
    slot, inner, there = tl.arange(0, SLOTS), tl.arange(0, INNER), channel < C
    column = part % strips * VALID + slot
    real = (slot < VALID) & (column < columns)
    w_at = weight + channel[None, :] * C_IN + inner[:, None]
    w = tl.load(w_at, mask=there[None, :] & (inner < C_IN)[:, None], other=0.0)  # [INNER, CHANNELS]
    b = tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)
    taps_b = tl.load(taps_bias + channel, mask=there, other=0.0).to(tl.float32)
    x += image * height * width * C_IN
    near = column * STRIDE - left  # of the three input columns, the first
    level = tl.zeros([SLOTS, CHANNELS], tl.float32)  # an output row that lacks its last input row
    below = tl.zeros([SLOTS, CHANNELS], tl.float32)  # at stride 1, the one that lacks two
    total = tl.zeros([SLOTS, CHANNELS], tl.float32)
    for row in range(first - (3 - STRIDE), min(first + each, rows)):  # begins before, with rows that are not kept
        i = row * STRIDE - above + 2
        if STRIDE == 1:
            v = _expanded(x, w, b, i, near, inner, height, width, C_IN, FORMULA, PRECISION)  # [SLOTS, CHANNELS]
            v0, v1, v2 = _shifted(v, 0), _shifted(v, 1), _shifted(v, 2)
            y = _filtered(level, v0, v1, v2, taps + 6 * C + channel, there, C)
            level = _filtered(below, v0, v1, v2, taps + 3 * C + channel, there, C)
            below = _filtered(tl.zeros_like(y), v0, v1, v2, taps + channel, there, C)
        else:
            even = _expanded(x, w, b, i - 1, near, inner, height, width, C_IN, FORMULA, PRECISION)
            odd = _expanded(x, w, b, i - 1, near + 1, inner, height, width, C_IN, FORMULA, PRECISION)
            v0, v1, v2 = _shifted(even, 0), _shifted(odd, 0), _shifted(even, 1)
            level = _filtered(level, v0, v1, v2, taps + 3 * C + channel, there, C)
            even = _expanded(x, w, b, i, near, inner, height, width, C_IN, FORMULA, PRECISION)
            odd = _expanded(x, w, b, i, near + 1, inner, height, width, C_IN, FORMULA, PRECISION)
            v0, v1, v2 = _shifted(even, 0), _shifted(odd, 0), _shifted(even, 1)
            y = _filtered(level, v0, v1, v2, taps + 6 * C + channel, there, C)
            level = _filtered(tl.zeros_like(y), v0, v1, v2, taps + channel, there, C)
        y = gelu(y + taps_b[None, :], FORMULA)
        kept = real & (row >= first)
        to = ((image * rows + row) * columns + column)[:, None] * C + channel[None, :]
        tl.store(out + to, y.to(out.dtype.element_ty), mask=kept[:, None] & there[None, :])
        total += tl.where(kept[:, None], y, 0.0)
    tl.store(shares + part.to(tl.int64) * C + channel, tl.sum(total, 0) / (rows * columns), mask=there)


@triton.jit
def _expanded(
    x, w, b, row, column, inner, height, width, C_IN: tl.constexpr, FORMULA: tl.constexpr, PRECISION: tl.constexpr
):
    """Pixels of a row, expanded and activated, rounded to the map's type; zero outside the map."""
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    at = (row.to(tl.int64) * width + column)[:, None] * C_IN + inner[None, :]
    pixels = tl.load(x + at, mask=inside[:, None] & (inner < C_IN)[None, :], other=0.0)  # [SLOTS, INNER]
    hidden = gelu(tl.dot(pixels, w, input_precision=PRECISION) + b[None, :], FORMULA)
    return tl.where(inside[:, None], hidden, 0.0).to(pixels.dtype)


@triton.jit
def _shifted(tile, STEPS: tl.constexpr):
    """Each slot's neighbour; what the last slots hold is not used.

    By no steps too: otherwise the compiler keeps what is computed from the tile as the product left it, and carries
    each summand that was shifted there through shared memory.
    """
    index = tl.minimum(tl.arange(0, tile.shape[0]) + STEPS, tile.shape[0] - 1)
    return tl.gather(tile, tl.broadcast_to(index[:, None], tile.shape), 0)


@triton.jit
def _filtered(sums, v0, v1, v2, taps, there, C: tl.constexpr):
    """Add three neighbours times a row of the filter."""
    sums += v0.to(tl.float32) * tl.load(taps, mask=there, other=0.0).to(tl.float32)[None, :]
    sums += v1.to(tl.float32) * tl.load(taps + C, mask=there, other=0.0).to(tl.float32)[None, :]
    return sums + v2.to(tl.float32) * tl.load(taps + 2 * C, mask=there, other=0.0).to(tl.float32)[None, :]


@expanded_filtered.register_fake
def _shapes(
    x: Tensor, weight: Tensor, bias: Tensor, taps: Tensor, taps_bias: Tensor, stride: int, symmetric: bool, erf: bool
) -> tuple[Tensor, Tensor]:
    batch, height, width, _ = x.shape
    out = x.new_empty(batch, -(-height // stride), -(-width // stride), weight.shape[0])
    return out, x.new_empty(batch, weight.shape[0], dtype=torch.float32)

"""MBConv's last layer where the block strides: the pooled shortcut is part of its sums, and no map by itself.

Letters: B batch, H W map sides, H' W' sides after the stride, C_in channels of the block's input, C of its output.
"""

import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.maps import REGISTERS
from maxvit.kernels.gpu.product import scaled_product, tile
from maxvit.kernels.gpu.rows import WARPS
from maxvit.kernels.gpu.support import operator, precision


@operator("maxvit::projected_pooled")
def projected_pooled(
    hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, x: Tensor, shortcut: Tensor, wide: bool
) -> Tensor:
    """linear(hidden * scale) + linear(pool(x)) in one kernel. No gradients.

    Args:
        hidden: (B, H', W', C_hidden).
        scale: (B, C_hidden), as squeeze-and-excite gives it.
        weight: (C, C_hidden), of the maps' type.
        bias: Of both layers, (C,).
        x: (B, H, W, C_in), of the same type; H' is ceil(H / 2).
        shortcut: (C, C_in), likewise.
        wide: Which mean, see `maxvit.layers.mbconv.Shortcut`.

    Returns:
        (B, H', W', C), of the maps' type.
    """
    hidden, x, out = hidden.contiguous(), x.contiguous(), _shape(hidden, scale, weight, bias, x, shortcut, wide)
    rows, columns = hidden.shape[:3].numel(), len(weight)
    block_m, block_n = tile(rows, columns, hidden.element_size())
    if rows:
        _project_pooled[(triton.cdiv(rows, block_m) * triton.cdiv(columns, block_n),)](
            hidden,
            scale.contiguous(),
            weight.contiguous(),
            bias,
            x,
            shortcut.contiguous(),
            out,
            rows,
            hidden.shape[1:3].numel(),
            hidden.shape[2],
            *x.shape[1:3],
            C=hidden.shape[3],
            C_IN=x.shape[3],
            C_OUT=columns,
            SPAN=3 if wide else 2,
            BLOCK_M=block_m,
            BLOCK_N=block_n,
            BLOCK_K=128 // x.element_size(),
            BLOCK_P=64 // x.element_size(),  # of the pooled map, of which four pixels are held at once
            PRECISION=precision(x),
            num_warps=WARPS,
            num_stages=2,
            maxnreg=REGISTERS if x.element_size() == 2 else None,  # two programs on a multiprocessor
        )
    return out


@triton.jit
def _project_pooled(
    hidden,
    scale,
    weight,
    bias,
    x,
    shortcut,
    out,
    rows,
    pixels,
    along,
    height,
    width,
    C: tl.constexpr,
    C_IN: tl.constexpr,
    C_OUT: tl.constexpr,
    SPAN: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_P: tl.constexpr,
    PRECISION: tl.constexpr,
):
    blocks = tl.cdiv(C_OUT, BLOCK_N)  # neighbours read the same rows
    first, column = tl.program_id(0) // blocks * BLOCK_M, tl.program_id(0) % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    row = tl.arange(0, BLOCK_M)
    sums = scaled_product(hidden, scale, weight, first, row, rows, column, pixels, C, C_OUT, True, BLOCK_K, PRECISION)
    start = first // pixels  # the first image of the tile: from there on 32 bits do
    image, pixel, real = (first + row) // pixels - start, (first + row) % pixels, row < rows - first
    x += start.to(tl.int64) * height * width * C_IN
    i, j = pixel // along * 2 - (SPAN - 2), pixel % along * 2 - (SPAN - 2)
    if SPAN == 2:  # what is outside does not count
        number = (tl.minimum(height - i, 2) * tl.minimum(width - j, 2)).to(tl.float32)
    else:
        number = tl.full([BLOCK_M], 9.0, tl.float32)
    at = ((image * height + i) * width + j) * C_IN
    for start in range(0, C_IN, BLOCK_P):
        k = start + tl.arange(0, BLOCK_P)
        pooled = tl.zeros([BLOCK_M, BLOCK_P], tl.float32)
        for tap in tl.static_range(SPAN * SPAN):
            down, right = tap // SPAN, tap % SPAN
            there = real & (i + down >= 0) & (i + down < height) & (j + right >= 0) & (j + right < width)
            near = x + (at + (down * width + right) * C_IN)[:, None] + k[None, :]
            pooled += tl.load(near, mask=there[:, None] & (k < C_IN)[None, :], other=0.0).to(tl.float32)
        mask = (k < C_IN)[:, None] & (column < C_OUT)[None, :]
        w = tl.load(shortcut + column[None, :] * C_IN + k[:, None], mask=mask, other=0.0)  # [BLOCK_P, BLOCK_N]
        sums = tl.dot((pooled / number[:, None]).to(x.dtype.element_ty), w, sums, input_precision=PRECISION)
    sums += tl.load(bias + column, mask=column < C_OUT, other=0.0).to(tl.float32)[None, :]
    out_at = out + first.to(tl.int64) * C_OUT + row[:, None] * C_OUT + column[None, :]
    tl.store(out_at, sums.to(out.dtype.element_ty), mask=real[:, None] & (column < C_OUT)[None, :])


@projected_pooled.register_fake
def _shape(
    hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, x: Tensor, shortcut: Tensor, wide: bool
) -> Tensor:
    return hidden.new_empty(*hidden.shape[:3], len(weight))

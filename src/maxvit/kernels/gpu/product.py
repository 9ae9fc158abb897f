"""Linear layers of any width with what stands around them, for inference: a scale before, GELU or a residual after."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant, gelu, named
from maxvit.kernels.gpu.maps import REGISTERS
from maxvit.kernels.gpu.rows import ELEMENTS, VENDOR, WARPS
from maxvit.kernels.gpu.support import operator, precision

FEWEST_WIDE = 512  # programs of tiles of 128 columns: two waves of an H100


@operator("maxvit::projected")
def projected(x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """residual + linear(x * scale) in one kernel.

    Args:
        x: (B, H, W, C).
        scale: Scale of each image's channels, as squeeze-and-excite gives it, (B, C); None: 1.
        weight: (C_out, C), of x's type.
        bias: (C_out,).
        residual: (B, H, W, C_out), of x's type.

    Returns:
        (B, H, W, C_out), of x's type.
    """
    out = residual.new_empty(residual.shape)
    _launch(x, scale, weight, bias, residual.contiguous(), out, erf=False)
    return out


@operator("maxvit::activated")
def activated(x: Tensor, weight: Tensor, bias: Tensor, erf: bool) -> Tensor:
    """gelu(linear(x)) in one kernel: from `rows.VENDOR` channels on the vendor's, where it knows the formula.

    Args:
        x: (B, H, W, C).
        weight: (C_out, C), of x's type.
        bias: (C_out,).
        erf: Which GELU.

    Returns:
        (B, H, W, C_out), of x's type.
    """
    if _by_vendor(x, erf):
        flat = torch._addmm_activation(bias.to(x.dtype), x.flatten(0, 2), weight.t(), use_gelu=True)
        return flat.unflatten(0, x.shape[:3])
    out = _activated_shape(x, weight, bias, erf)
    _launch(x, None, weight, bias, None, out, erf)
    return out


def _by_vendor(x: Tensor, erf: bool) -> bool:
    """Whether the vendor's library knows it (on a GPU, by the tanh formula) and is predicted to be faster."""
    return x.device.type != "cpu" and not erf and x.shape[3] >= VENDOR


def _launch(
    x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, residual: Tensor | None, out: Tensor, erf: bool
) -> None:
    x, weight, rows, columns = x.contiguous(), weight.contiguous(), x.shape[:3].numel(), len(weight)
    block_m, block_n = tile(rows, columns, x.element_size())
    if rows:
        _product[(triton.cdiv(rows, block_m) * triton.cdiv(columns, block_n),)](
            x,
            x if scale is None else scale.contiguous(),  # what is not there is not read
            weight,
            bias,
            x if residual is None else residual,
            out,
            rows,
            x.shape[1:3].numel(),
            C=x.shape[3],
            C_OUT=columns,
            SCALED=scale is not None,
            ADDED=residual is not None,
            FORMULA=constant(x, named(erf)),
            BLOCK_M=block_m,
            BLOCK_N=block_n,
            BLOCK_K=128 // x.element_size(),
            PRECISION=precision(x),
            num_warps=WARPS,
            num_stages=3,
            maxnreg=REGISTERS if x.element_size() == 2 else None,  # two programs on a multiprocessor
        )


def tile(rows: int, columns: int, number_bytes: int) -> tuple[int, int]:
    """Rows and columns: wide ones read less, narrow ones fit better, and there are more of them."""
    most = ELEMENTS[number_bytes]
    wide = columns % 128 == 0 and triton.cdiv(rows, min(128, most // 128)) * (columns // 128) >= FEWEST_WIDE
    block_n = 128 if wide else min(64, max(16, triton.next_power_of_2(columns)))
    return min(128, most // block_n), block_n


@triton.jit
def _product(
    x,
    scale,
    weight,
    bias,
    residual,
    out,
    rows,
    pixels,
    C: tl.constexpr,
    C_OUT: tl.constexpr,
    SCALED: tl.constexpr,
    ADDED: tl.constexpr,
    FORMULA: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    blocks = tl.cdiv(C_OUT, BLOCK_N)  # neighbours read the same rows of x
    first, column = tl.program_id(0) // blocks * BLOCK_M, tl.program_id(0) % blocks * BLOCK_N + tl.arange(0, BLOCK_N)
    row = tl.arange(0, BLOCK_M)
    sums = scaled_product(x, scale, weight, first, row, rows, column, pixels, C, C_OUT, SCALED, BLOCK_K, PRECISION)
    rows -= first
    out_at = row[:, None] * C_OUT + column[None, :]  # from the tile's first row on: 32 bits do
    out += first.to(tl.int64) * C_OUT
    residual += first.to(tl.int64) * C_OUT
    sums += tl.load(bias + column, mask=column < C_OUT, other=0.0).to(tl.float32)[None, :]
    mask = (row < rows)[:, None] & (column < C_OUT)[None, :]
    if ADDED:
        sums += tl.load(residual + out_at, mask=mask, other=0.0).to(tl.float32)
    else:
        sums = gelu(sums, FORMULA)
    tl.store(out + out_at, sums.to(out.dtype.element_ty), mask=mask)


@triton.jit
def scaled_product(
    x,
    scale,
    weight,
    first,
    row,
    rows,
    column,
    pixels,
    C: tl.constexpr,
    C_OUT: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Some columns of linear(x * scale) for the rows from `first` on, [BLOCK_M, BLOCK_N] in float32."""
    x, real, image = x + first.to(tl.int64) * C, row < rows - first, (first + row) // pixels
    sums = tl.zeros([row.shape[0], column.shape[0]], tl.float32)
    for start in range(0, C, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = real[:, None] & (k < C)[None, :]
        a = tl.load(x + row[:, None] * C + k[None, :], mask=there, other=0.0)  # [BLOCK_M, BLOCK_K]
        if SCALED:
            s = tl.load(scale + image[:, None] * C + k[None, :], mask=there, other=0.0)
            a = (a.to(tl.float32) * s.to(tl.float32)).to(x.dtype.element_ty)
        mask = (k < C)[:, None] & (column < C_OUT)[None, :]
        w = tl.load(weight + column[None, :] * C + k[:, None], mask=mask, other=0.0)  # [BLOCK_K, BLOCK_N]
        sums = tl.dot(a, w, sums, input_precision=PRECISION)
    return sums


@projected.register_fake
def _projected_shape(x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return residual.new_empty(residual.shape)


@activated.register_fake
def _activated_shape(x: Tensor, weight: Tensor, bias: Tensor, erf: bool) -> Tensor:
    return x.new_empty(*x.shape[:3], weight.shape[0])

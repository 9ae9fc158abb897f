"""Linear layers with what stands before and after them: a layer norm, a scale, a residual."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.rows import normed_rows, plain_norm, tile, warps
from maxvit.kernels.gpu.support import precision


@torch.library.custom_op("maxvit::normed_linear", mutates_args=())
def normed_linear(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """linear(layer_norm(x)) in one kernel; backward computes the norm again. Differentiable.

    Args:
        x: (..., C), C up to `rows.WIDEST`.
        gamma: Scale of the norm, (C,).
        beta: Shift of the norm, (C,).
        weight: (C_out, C), of x's type.
        bias: (C_out,).
        epsilon: Of the norm.

    Returns:
        (..., C_out), of x's type.
    """
    x, weight = x.contiguous(), weight.contiguous()
    out = _linear_shape(x, gamma, beta, weight, bias, epsilon)
    rows, blocks = x.shape[:-1].numel(), tile(x)
    if rows:
        _normed_linear[triton.cdiv(rows, blocks["BLOCK_M"]),](
            x,
            gamma,
            beta,
            weight,
            bias,
            out,
            rows,
            epsilon,
            C=x.shape[-1],
            C_OUT=len(weight),
            BLOCK_N=64,
            PRECISION=precision(x),
            **blocks,
            num_warps=warps(blocks["BLOCK_M"], blocks["BLOCK_C"]),
        )
    return out


@triton.jit
def _normed_linear(
    x,
    gamma,
    beta,
    weight,
    bias,
    out,
    rows,
    epsilon,
    C: tl.constexpr,
    C_OUT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    normed = normed_rows(x, gamma, beta, row, rows, epsilon, C, BLOCK_C)  # [BLOCK_M, BLOCK_C]
    c = tl.arange(0, BLOCK_C)
    for start in range(0, C_OUT, BLOCK_N):
        column = start + tl.arange(0, BLOCK_N)
        mask = (c < C)[:, None] & (column < C_OUT)[None, :]
        w = tl.load(weight + column[None, :] * C + c[:, None], mask=mask, other=0.0)  # [BLOCK_C, BLOCK_N]
        sums = tl.dot(normed, w, input_precision=PRECISION)
        sums += tl.load(bias + column, mask=column < C_OUT, other=0.0).to(tl.float32)[None, :]
        at = out + row[:, None] * C_OUT + column[None, :]
        tl.store(at, sums.to(out.dtype.element_ty), mask=(row < rows)[:, None] & (column < C_OUT)[None, :])


@normed_linear.register_fake
def _linear_shape(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.epsilon = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, gamma, beta, weight, bias = ctx.saved_tensors
    normed, mean, inverse = plain_norm(x, gamma, beta, ctx.epsilon)
    rows = grad.flatten(0, -2)  # (M, C_out)
    of_norm = torch.ops.aten.native_layer_norm_backward(
        grad @ weight, x, x.shape[-1:], mean, inverse, gamma, beta, [True, True, True]
    )
    return *of_norm, rows.t() @ normed.flatten(0, -2), rows.sum(0, dtype=torch.float32).to(bias.dtype), None


normed_linear.register_autograd(_differentiate, setup_context=_keep)


@torch.library.custom_op("maxvit::projected", mutates_args=())
def projected(x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """residual + linear(x * scale) in one kernel, for inference.

    Args:
        x: (B, H, W, C).
        scale: Of each image's channels, as squeeze-and-excite gives it, (B, C); None: 1.
        weight: (C_out, C), of x's type.
        bias: (C_out,).
        residual: (B, H, W, C_out), of x's type.

    Returns:
        (B, H, W, C_out), of x's type.
    """
    x, weight, residual = x.contiguous(), weight.contiguous(), residual.contiguous()
    out, rows, columns = torch.empty_like(residual), x.shape[:3].numel(), len(weight)
    small = x.element_size() > 2  # tiles of float32 are half as wide
    block_n = min(128 if small else 256, max(16, triton.next_power_of_2(columns)))
    block_m = 64 if small else 128
    if rows:
        _projected[triton.cdiv(rows, block_m), triton.cdiv(columns, block_n)](
            x,
            x if scale is None else scale.contiguous(),
            weight,
            bias,
            residual,
            out,
            rows,
            x.shape[1:3].numel(),
            C=x.shape[3],
            C_OUT=columns,
            SCALED=scale is not None,
            BLOCK_M=block_m,
            BLOCK_N=block_n,
            BLOCK_K=32 if small else 64,
            PRECISION=precision(x),
            num_warps=warps(block_m, block_n),
            num_stages=3,
        )
    return out


@triton.jit
def _projected(
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
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    column = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for start in range(0, C, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = (row < rows)[:, None] & (k < C)[None, :]
        a = tl.load(x + row[:, None] * C + k[None, :], mask=there, other=0.0)  # [BLOCK_M, BLOCK_K]
        if SCALED:
            s = tl.load(scale + (row // pixels)[:, None] * C + k[None, :], mask=there, other=0.0)
            a = (a.to(tl.float32) * s.to(tl.float32)).to(x.dtype.element_ty)
        mask = (k < C)[:, None] & (column < C_OUT)[None, :]
        w = tl.load(weight + column[None, :] * C + k[:, None], mask=mask, other=0.0)  # [BLOCK_K, BLOCK_N]
        sums = tl.dot(a, w, sums, input_precision=PRECISION)
    sums += tl.load(bias + column, mask=column < C_OUT, other=0.0).to(tl.float32)[None, :]
    at, mask = row[:, None] * C_OUT + column[None, :], (row < rows)[:, None] & (column < C_OUT)[None, :]
    sums += tl.load(residual + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + at, sums.to(out.dtype.element_ty), mask=mask)


@projected.register_fake
def _projected_shape(x: Tensor, scale: Tensor | None, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return residual.new_empty(residual.shape)

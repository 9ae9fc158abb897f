"""A layer norm and the linear layer after it, in one kernel where a row is narrow enough to be held whole."""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.layer_norm import layer_norm
from maxvit.kernels.gpu.rows import NORMED_LINEAR, WARPS, fit, normed_rows, plain_norm, plain_norm_gradient, tile
from maxvit.kernels.gpu.support import operator, precision


@operator("maxvit::normed_linear")
def normed_linear(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """linear(layer_norm(x)); backward computes the norm again. Differentiable.

    Args:
        x: (..., C); one kernel up to `rows.NORMED_LINEAR` channels.
        gamma: Scale of the norm, (C,).
        beta: Shift of the norm, (C,).
        weight: (C_out, C), of x's type.
        bias: (C_out,).
        epsilon: Epsilon of the norm.

    Returns:
        (..., C_out), of x's type.
    """
    if not fit(x, NORMED_LINEAR):
        return F.linear(layer_norm(x, gamma, beta, epsilon), weight, bias.to(x.dtype))
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
            num_warps=WARPS,
            num_stages=2,  # so that two programs fit on a multiprocessor
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
    first, row = tl.program_id(0).to(tl.int64) * BLOCK_M, tl.arange(0, BLOCK_M)
    rows -= first.to(tl.int32)
    x += first * C  # from the tile's first row on 32 bits do
    out += first * C_OUT
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
    of_norm = plain_norm_gradient(grad @ weight, x, gamma, beta, mean, inverse)
    return *of_norm, rows.t() @ normed.flatten(0, -2), rows.sum(0, dtype=torch.float32).to(bias.dtype), None


normed_linear.register_autograd(_differentiate, setup_context=_keep)

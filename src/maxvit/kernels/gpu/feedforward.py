"""The feed-forward branch: norm, expand, GELU, project, stochastic depth, residual.

In one kernel where a row is narrow enough: the hidden map, four times as wide as the others, never leaves the chip.
Backward computes it again, with PyTorch's products and one pass for GELU and its slope.
"""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant, gelu, gelu_slope, named, twice_gelu
from maxvit.kernels.gpu.layer_norm import layer_norm
from maxvit.kernels.gpu.product import activated, projected
from maxvit.kernels.gpu.rows import FEED_FORWARD, WARPS, fit, normed_rows, plain_norm, plain_norm_gradient, tile
from maxvit.kernels.gpu.support import operator, precision

ELEMENTS = 1024  # of a program of the elementwise kernel


@operator("maxvit::feedforward")
def feedforward(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    scale: Tensor | None,
    epsilon: float,
    erf: bool,
) -> Tensor:
    """x + scale * project(gelu(expand(layer_norm(x)))). Differentiable but for the scale; of the maps it keeps x alone.

    Args:
        x: (B, H, W, C); one kernel up to `rows.FEED_FORWARD` channels, and with a scale where a tile holds a row.
        gamma: Scale of the norm, (C,).
        beta: Shift of the norm, (C,).
        expand: (hidden, C), of x's type.
        expand_bias: (hidden,).
        project: (C, hidden), of x's type.
        project_bias: (C,).
        scale: Scale of each image, by stochastic depth, (B,) float32; None: 1.
        epsilon: Epsilon of the norm.
        erf: Which GELU.

    Returns:
        (B, H, W, C), of x's type.
    """
    if not fit(x, FEED_FORWARD if scale is None else x.shape[3]):
        hidden = activated(layer_norm(x, gamma, beta, epsilon), expand, expand_bias, erf)
        if scale is None:
            added: Tensor = projected(hidden, None, project, project_bias, x)
            return added
        branch = F.linear(hidden, project, project_bias.to(x.dtype))
        return x + branch * scale.view(-1, 1, 1, 1).to(x.dtype)
    x, expand, project = x.contiguous(), expand.contiguous(), project.contiguous()
    out, rows, (blocks, warps) = torch.empty_like(x), x.shape[:3].numel(), _tile(x)
    if rows:
        _feedforward[triton.cdiv(rows, blocks["BLOCK_M"]),](
            x,
            gamma,
            beta,
            expand,
            expand_bias,
            project,
            project_bias,
            x if scale is None else scale,  # what is not there is not read
            out,
            rows,
            x.shape[1:3].numel(),
            epsilon,
            C=x.shape[3],
            HIDDEN=len(expand),
            SCALED=scale is not None,
            FORMULA=constant(x, named(erf)),
            PRECISION=precision(x),
            **blocks,
            num_warps=warps,
            num_stages=2,
        )
    return out


def _tile(x: Tensor) -> tuple[dict[str, int], int]:
    """Sizes of a tile of the map and of the hidden map, and warps."""
    blocks = tile(x)
    if x.element_size() == 2 and blocks["BLOCK_C"] == 128:  # so that three programs fit on a multiprocessor
        return {**blocks, "BLOCK_M": 64, "BLOCK_H": 32}, 4
    return {**blocks, "BLOCK_H": 128 // x.element_size()}, WARPS


@triton.jit
def _feedforward(
    x,
    gamma,
    beta,
    expand,
    expand_bias,
    project,
    project_bias,
    scale,
    out,
    rows,
    pixels,
    epsilon,
    C: tl.constexpr,
    HIDDEN: tl.constexpr,
    SCALED: tl.constexpr,
    FORMULA: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_H: tl.constexpr,
    PRECISION: tl.constexpr,
):
    first, row = tl.program_id(0) * BLOCK_M, tl.arange(0, BLOCK_M)
    rows -= first
    x += first.to(tl.int64) * C  # from the tile's first row on 32 bits do
    normed = normed_rows(x, gamma, beta, row, rows, epsilon, C, BLOCK_C)  # [BLOCK_M, BLOCK_C]
    c = tl.arange(0, BLOCK_C)
    sums = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    for start in range(0, HIDDEN, BLOCK_H):
        h = start + tl.arange(0, BLOCK_H)
        mask = (c < C)[:, None] & (h < HIDDEN)[None, :]
        w = tl.load(expand + h[None, :] * C + c[:, None], mask=mask, other=0.0)  # [BLOCK_C, BLOCK_H]
        a = tl.dot(normed, w, input_precision=PRECISION)
        a += tl.load(expand_bias + h, mask=h < HIDDEN, other=0.0).to(tl.float32)[None, :]
        a = twice_gelu(a, FORMULA).to(x.dtype.element_ty)  # gelu(0) is 0 beyond HIDDEN
        mask = (h < HIDDEN)[:, None] & (c < C)[None, :]
        w = tl.load(project + c[None, :] * HIDDEN + h[:, None], mask=mask, other=0.0)  # [BLOCK_H, BLOCK_C]
        sums = tl.dot(a, w, sums, input_precision=PRECISION)
    sums = 0.5 * sums + tl.load(project_bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    if SCALED:
        sums *= tl.load(scale + (first + row) // pixels, mask=row < rows, other=0.0)[:, None]
    at, there = row[:, None] * C + c[None, :], (row < rows)[:, None] & (c < C)[None, :]
    sums += tl.load(x + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out + first.to(tl.int64) * C + at, sums.to(out.dtype.element_ty), mask=there)


@operator("maxvit::gelu_pair")
def gelu_pair(x: Tensor, grad: Tensor, erf: bool) -> tuple[Tensor, Tensor]:
    """gelu(x), and the gradient of x from that of gelu(x), in one pass over tensors of one shape."""
    x, grad = x.contiguous(), grad.contiguous()
    out, of_x = torch.empty_like(x), torch.empty_like(x)
    if x.numel():
        _gelu_pair[triton.cdiv(x.numel(), ELEMENTS),](x, grad, out, of_x, x.numel(), FORMULA=named(erf), BLOCK=ELEMENTS)
    return out, of_x


@triton.jit
def _gelu_pair(x, grad, out, of_x, number, FORMULA: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < number, other=0.0).to(tl.float32)
    pull = tl.load(grad + at, mask=at < number, other=0.0).to(tl.float32)
    tl.store(out + at, gelu(value, FORMULA).to(out.dtype.element_ty), mask=at < number)
    tl.store(of_x + at, (pull * gelu_slope(value, FORMULA)).to(of_x.dtype.element_ty), mask=at < number)


@feedforward.register_fake
def _shape(
    x: Tensor,
    gamma: Tensor,
    beta: Tensor,
    expand: Tensor,
    expand_bias: Tensor,
    project: Tensor,
    project_bias: Tensor,
    scale: Tensor | None,
    epsilon: float,
    erf: bool,
) -> Tensor:
    return x.new_empty(x.shape)


@gelu_pair.register_fake
def _pair_shapes(x: Tensor, grad: Tensor, erf: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.epsilon, ctx.erf = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, gamma, beta, expand, expand_bias, project, project_bias, scale = ctx.saved_tensors
    normed, mean, inverse = plain_norm(x, gamma, beta, ctx.epsilon)
    pull = grad if scale is None else (grad * scale.view(-1, 1, 1, 1)).to(x.dtype)  # of the branch
    hidden, of_hidden = gelu_pair(F.linear(normed, expand, expand_bias.to(x.dtype)), pull @ project, ctx.erf)
    rows, inner = pull.flatten(0, 2), of_hidden.flatten(0, 2)  # (M, C), (M, hidden)
    of_x, *of_norm = plain_norm_gradient(of_hidden @ expand, x, gamma, beta, mean, inverse)
    of_expand = inner.t() @ normed.flatten(0, 2), _sum(inner, expand_bias)
    of_project = rows.t() @ hidden.flatten(0, 2), _sum(rows, project_bias)
    return grad + of_x, *of_norm, *of_expand, *of_project, None, None, None


def _sum(rows: Tensor, like: Tensor) -> Tensor:
    """Sum of all rows, in float32."""
    return rows.sum(0, dtype=torch.float32).to(like.dtype)


feedforward.register_autograd(_differentiate, setup_context=_keep)

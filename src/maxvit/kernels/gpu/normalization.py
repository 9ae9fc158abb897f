"""Batch norm and GELU in training on maps (B, H, W, C): only the norm's input is kept.

Maps are dense, in float32, bfloat16 or float16. Statistics are float32, and so are all sums, which are the same in
every run: each program writes its own, and they are added up afterwards.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from maxvit.kernels.gpu.activation import constant, formula, gelu, gelu_slope
from maxvit.kernels.gpu.maps import (
    COLUMNS,
    REGISTERS,
    ROWS,
    Pass,
    by_channel,
    channels_of,
    chunk_of,
    divided,
    load,
    norm_of,
    tile_of,
)
from maxvit.kernels.gpu.statistics import CHANNELS, PARTS, added_up, statistics
from maxvit.kernels.gpu.support import operator


def normalize(x: Tensor, norm: nn.BatchNorm2d, act: nn.Module | None = None) -> Tensor:
    """act(norm(x)), (B, H, W, C) in x's type; keeps x."""
    out: Tensor = normalized(x, norm.weight, norm.bias, statistics(x, norm), "none" if act is None else formula(act))
    return out


@operator("maxvit::normalized")
def normalized(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, act: str) -> Tensor:
    """Batch norm with known statistics, and an activation.

    Args:
        x: (B, H, W, C), dense.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: `statistics` of x. Gradients take into account that they depend on x.
        act: "none", "tanh" or "erf".

    Returns:
        (B, H, W, C) in x's type.
    """
    return apply(x, weight, bias, found, act, x.dtype)


@operator("maxvit::normalized_gradient")
def normalized_gradient(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, grad: Tensor, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `normalized`'s x, weight and bias, from that of its result."""
    return input_gradient(x, grad.contiguous(), weight, bias, found, act)


def apply(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, act: str, dtype: torch.dtype, scale: Tensor | None = None
) -> Tensor:
    """act(norm(x)) * scale, outside of autograd.

    Args:
        x: (B, H, W, C), dense.
        weight: (C,).
        bias: (C,).
        found: `statistics`.
        act: See `normalized`.
        dtype: Type of the result.
        scale: Scale of each channel of each image, (B, C).

    Returns:
        (B, H, W, C).
    """
    y, plan = torch.empty_like(x, dtype=dtype), Pass.over(x, by_image=scale is not None)
    if x.numel():
        _apply[plan.grid](x, found, weight, bias, scale, y, *plan.sizes, constant(x, act), ROWS, COLUMNS)
    return y


def input_gradient(
    x: Tensor,
    grad: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    act: str,
    scale: Tensor | None = None,
    pull: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, weight and bias, where act(norm(x)) has the gradient grad * scale + pull / (H * W).

    Args:
        x: (B, H, W, C), dense.
        grad: (B, H, W, C), dense.
        weight: (C,).
        bias: (C,).
        found: `statistics`.
        act: See `normalized`.
        scale: Scale of each channel of each image, (B, C); None: 1.
        pull: Pull of each channel of each image, (B, C); given with scale.

    Returns:
        (B, H, W, C) in x's type, (C,) and (C,) in the parameters'.
    """
    plan = Pass.over(x, by_image=scale is not None)
    sums = x.new_empty(plan.grid[0], 2, x.shape[3], dtype=torch.float32)
    if x.numel():
        given = (x, grad, found, weight, bias, scale, pull, sums)
        _sums[plan.grid](*given, *plan.sizes, constant(x, act), ROWS, COLUMNS, maxnreg=REGISTERS)
    return finish(x, grad, weight, bias, found, sums, torch.empty_like(x), act, scale, pull)


def finish(
    x: Tensor,
    grad: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    sums: Tensor,
    out: Tensor,
    act: str,
    scale: Tensor | None = None,
    pull: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`input_gradient` from sums that are known.

    Args:
        sums: (parts, 2, C) in float32, over parts of the map: of h, the gradient of norm(x), and of h * (x - mean).
        out: What the gradient of x is written to; it may be `grad`.
    """
    plan, channels = Pass.over(x, by_image=scale is not None), x.shape[3]
    of_weight, of_bias = torch.empty_like(weight), torch.empty_like(bias)
    if not x.numel():
        return out, of_weight.zero_(), of_bias.zero_()
    totals = x.new_empty(2, channels, dtype=torch.float32)
    grid = (divided(channels, CHANNELS),)
    _totals[grid](sums, found, totals, of_weight, of_bias, len(sums), channels, PARTS, CHANNELS)
    given = (x, grad, found, weight, bias, scale, pull, totals, out, x.shape[:3].numel())
    _input_gradient[plan.grid](*given, *plan.sizes, constant(x, act), ROWS, COLUMNS)
    return out, of_weight, of_bias


@triton.jit
def activated(z, ACT: tl.constexpr):
    """act(z)."""
    return z if ACT == "none" else gelu(z, ACT)


@triton.jit
def _slope(z, grad, scale, pull, image, pixels, column, channels, ACT: tl.constexpr):
    """The gradient of z from that of act(z) * scale, [ROWS, COLUMNS]; pull comes from what else act(z) goes into."""
    if scale is not None:
        own = image.to(tl.int64) * channels
        grad = grad * by_channel(scale + own, column, channels)[None, :]
        grad += (by_channel(pull + own, column, channels) / pixels)[None, :]
    return grad if ACT == "none" else grad * gelu_slope(z, ACT)


@triton.jit
def _apply(
    x,
    found,
    weight,
    bias,
    scale,
    y,
    pixels,
    channels,
    chunks,
    each,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    image, first, last = chunk_of(pixels, chunks, each)
    column = channels_of(COLUMNS)
    mean, slope, shift = norm_of(found, weight, bias, column, channels)
    for start in range(first, last, ROWS):
        at, real = tile_of(image, start, pixels, column, channels, ROWS)
        out = activated((load(x, at, real) - mean[None, :]) * slope[None, :] + shift[None, :], ACT)
        if scale is not None:
            out *= by_channel(scale + image.to(tl.int64) * channels, column, channels)[None, :]
        tl.store(y + at, out.to(y.dtype.element_ty), mask=real)


@triton.jit
def _sums(
    x,
    grad,
    found,
    weight,
    bias,
    scale,
    pull,
    sums,
    pixels,
    channels,
    chunks,
    each,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    image, first, last = chunk_of(pixels, chunks, each)
    column = channels_of(COLUMNS)
    mean, slope, shift = norm_of(found, weight, bias, column, channels)
    total, along = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first, last, ROWS):
        at, real = tile_of(image, start, pixels, column, channels, ROWS)
        off = load(x, at, real) - mean[None, :]
        z = off * slope[None, :] + shift[None, :]
        h = tl.where(real, _slope(z, load(grad, at, real), scale, pull, image, pixels, column, channels, ACT), 0.0)
        total += h
        along += h * off
    to = sums + tl.program_id(0).to(tl.int64) * 2 * channels + column
    tl.store(to, tl.sum(total, 0), mask=column < channels)
    tl.store(to + channels, tl.sum(along, 0), mask=column < channels)


@triton.jit
def _totals(sums, found, totals, of_weight, of_bias, parts, channels, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    column = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = column < channels
    total = added_up(sums, parts, 2 * channels, column, channels, PARTS, CHANNELS).to(tl.float32)
    along = added_up(sums + channels, parts, 2 * channels, column, channels, PARTS, CHANNELS).to(tl.float32)
    tl.store(totals + column, total, mask=there)
    tl.store(totals + channels + column, along, mask=there)
    slope = along * by_channel(found + channels, column, channels)
    tl.store(of_weight + column, slope.to(of_weight.dtype.element_ty), mask=there)
    tl.store(of_bias + column, total.to(of_bias.dtype.element_ty), mask=there)


@triton.jit
def _input_gradient(
    x,
    grad,
    found,
    weight,
    bias,
    scale,
    pull,
    totals,
    out,
    count,
    pixels,
    channels,
    chunks,
    each,
    ACT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    image, first, last = chunk_of(pixels, chunks, each)
    column = channels_of(COLUMNS)
    mean, slope, shift = norm_of(found, weight, bias, column, channels)
    inverse = by_channel(found + channels, column, channels)
    level = by_channel(totals, column, channels) / count
    tilt = by_channel(totals + channels, column, channels) * inverse * inverse / count
    for start in range(first, last, ROWS):
        at, real = tile_of(image, start, pixels, column, channels, ROWS)
        off = load(x, at, real) - mean[None, :]
        z = off * slope[None, :] + shift[None, :]
        h = _slope(z, load(grad, at, real), scale, pull, image, pixels, column, channels, ACT)
        h = slope[None, :] * (h - level[None, :] - off * tilt[None, :])
        tl.store(out + at, h.to(out.dtype.element_ty), mask=real)


@normalized.register_fake
def _shapes(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, act: str) -> Tensor:
    return torch.empty_like(x)


@normalized_gradient.register_fake
def _gradient_shapes(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, grad: Tensor, act: str
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.act = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *normalized_gradient(*ctx.saved_tensors, grad, ctx.act), None, None


normalized.register_autograd(_differentiate, setup_context=_keep)

"""Squeeze and excitation of act(norm(x)) in training, on maps (B, H, W, C): the passes that need sums of each image."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant
from maxvit.kernels.gpu.maps import COLUMNS, ROWS, Pass, by_channel, channels_of, chunk_of, load, norm_of, tile_of
from maxvit.kernels.gpu.normalization import activated


def pooled(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, act: str) -> Tensor:
    """The mean of act(norm(x)) over each image.

    Args:
        x: (B, H, W, C), dense; float32, bfloat16 or float16.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x.
        act: "none", "tanh" or "erf".

    Returns:
        (B, C) in x's type.
    """
    plan = Pass.over(x, by_image=True)
    sums = x.new_empty(x.shape[0], plan.chunks, x.shape[3], dtype=torch.float32)
    if x.numel():
        _pool[plan.grid](x, found, weight, bias, sums, *plan.sizes, constant(x, act), ROWS, COLUMNS)
    return sums.sum(1).to(x.dtype)


def scale_gradient(
    x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor, found: Tensor, act: str, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The map act(norm(x)) * scale, and the gradient of scale, from `grad`, that of this map.

    Args:
        x: (B, H, W, C), dense.
        grad: (B, H, W, C), dense.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x.
        act: See `pooled`.
        scale: (B, C).

    Returns:
        (B, H, W, C) and (B, C) in grad's type.
    """
    plan, y = Pass.over(x, by_image=True), torch.empty_like(grad)
    sums = x.new_empty(x.shape[0], plan.chunks, x.shape[3], dtype=torch.float32)
    if x.numel():
        _scale_gradient[plan.grid](
            x, grad, found, weight, bias, scale, y, sums, *plan.sizes, constant(x, act), ROWS, COLUMNS
        )
    return y, sums.sum(1).to(grad.dtype)


@triton.jit
def _pool(
    x,
    found,
    weight,
    bias,
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
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first, last, ROWS):
        at, real = tile_of(image, start, pixels, column, channels, ROWS)
        a = activated((load(x, at, real) - mean[None, :]) * slope[None, :] + shift[None, :], ACT)
        total += tl.where(real, a, 0.0)
    to = sums + tl.program_id(0).to(tl.int64) * channels + column
    tl.store(to, tl.sum(total, 0) / pixels, mask=column < channels)


@triton.jit
def _scale_gradient(
    x,
    grad,
    found,
    weight,
    bias,
    scale,
    y,
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
    by = by_channel(scale + image.to(tl.int64) * channels, column, channels)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first, last, ROWS):
        at, real = tile_of(image, start, pixels, column, channels, ROWS)
        a = activated((load(x, at, real) - mean[None, :]) * slope[None, :] + shift[None, :], ACT)
        total += a * load(grad, at, real)
        tl.store(y + at, (a * by[None, :]).to(y.dtype.element_ty), mask=real)
    to = sums + tl.program_id(0).to(tl.int64) * channels + column
    tl.store(to, tl.sum(total, 0), mask=column < channels)

"""Batch norm's statistics in training, from one pass over a map (B, H, W, C) that gives the same sums in every run.

A second, small kernel adds the sums up in float64, and takes them into the running statistics: a dozen calls of PyTorch
would take longer than the pass itself.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from maxvit.kernels.gpu.maps import COLUMNS, ROWS, Pass, by_channel, channels_of, chunk_of, divided, load, tile_of
from maxvit.kernels.gpu.support import operator

PARTS, CHANNELS = 128, 16  # of a tile that adds up sums


def statistics(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Mean and inverse deviation of a batch; the norm's running statistics take them in.

    Args:
        x: (B, H, W, C), dense; float32, bfloat16 or float16.
        norm: Over C channels.

    Returns:
        (2, C) in float32.

    Raises:
        ValueError: If the batch holds one value of a channel, as `nn.BatchNorm2d` does.
    """
    if x.shape[:3].numel() == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    running = norm.running_mean, norm.running_var, norm.num_batches_tracked
    if any(tensor is None for tensor in running):
        running = None, None, None
    found: Tensor = batch_statistics(x.detach(), *running, -1.0 if norm.momentum is None else norm.momentum, norm.eps)
    return found


@operator("maxvit::batch_statistics", mutated=("running_mean", "running_var", "batches"))
def batch_statistics(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    batches: Tensor | None,
    momentum: float,
    epsilon: float,
) -> Tensor:
    """Mean and inverse deviation of each channel, (2, C) in float32.

    Sums are of x - first and (x - first)**2, where first is the first pixel: of a large mean no digits are lost.

    Args:
        x: (B, H, W, C), dense.
        running_mean: (C,), to take the mean in; None, like the two after it: nothing is kept.
        running_var: (C,), to take the unbiased variance in.
        batches: How many were taken in before, one number.
        momentum: Share of this batch in the running statistics; below 0: each batch has the same.
        epsilon: Added to the variance.
    """
    x, (channels, pixels) = x.contiguous(), (x.shape[3], x.shape[:3].numel())
    found, plan = x.new_empty(2, channels, dtype=torch.float32), Pass.over(x)
    if not x.numel():
        return found.zero_()
    sums = x.new_empty(plan.chunks, 2, channels, dtype=torch.float32)
    _moments[plan.grid](x, sums, found, *plan.sizes, ROWS, COLUMNS)
    grid = (divided(channels, CHANNELS),)
    running = running_mean, running_var, batches
    _statistics[grid](sums, found, *running, plan.chunks, pixels, channels, momentum, epsilon, PARTS, CHANNELS)
    if running_mean is not None and running_var is not None and batches is not None:
        batches.add_(1)
        torch.autograd.graph.increment_version([running_mean, running_var])
    return found


@triton.jit
def _moments(x, sums, found, pixels, channels, chunks, each, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    image, first, last = chunk_of(pixels, chunks, each)
    column = channels_of(COLUMNS)
    shift = by_channel(x, column, channels)
    total, square = tl.zeros([ROWS, COLUMNS], tl.float32), tl.zeros([ROWS, COLUMNS], tl.float32)
    for start in range(first, last, ROWS):
        at, real = tile_of(image, start, pixels, column, channels, ROWS)
        off = tl.where(real, load(x, at, real) - shift[None, :], 0.0)
        total += off
        square += off * off
    to = sums + tl.program_id(0) * 2 * channels + column
    tl.store(to, tl.sum(total, 0), mask=column < channels)
    tl.store(to + channels, tl.sum(square, 0), mask=column < channels)
    if tl.program_id(0) == 0:
        tl.store(found + column, shift, mask=column < channels)  # until the mean is known


@triton.jit
def added_up(sums, parts, stride, column, channels, PARTS: tl.constexpr, CHANNELS: tl.constexpr):
    """Sums of some channels over all parts, which lie `stride` apart: [CHANNELS] in float64."""
    part = tl.arange(0, PARTS)
    total = tl.zeros([PARTS, CHANNELS], tl.float64)
    for start in range(0, parts, PARTS):
        there = (start + part < parts)[:, None] & (column < channels)[None, :]
        total += tl.load(sums + (start + part)[:, None] * stride + column[None, :], mask=there, other=0.0).to(
            tl.float64
        )
    return tl.sum(total, 0)


@triton.jit
def _statistics(
    sums,
    found,
    running_mean,
    running_var,
    batches,
    parts,
    pixels,
    channels,
    momentum,
    epsilon,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    column = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    there = column < channels
    offset = added_up(sums, parts, 2 * channels, column, channels, PARTS, CHANNELS) / pixels
    square = added_up(sums + channels, parts, 2 * channels, column, channels, PARTS, CHANNELS) / pixels
    variance = tl.maximum(square - offset * offset, 0.0)
    mean = by_channel(found, column, channels).to(tl.float64) + offset
    tl.store(found + column, mean.to(tl.float32), mask=there)
    tl.store(found + channels + column, (1.0 / tl.sqrt(variance + epsilon)).to(tl.float32), mask=there)
    if batches is not None:
        share = momentum
        if momentum < 0:
            share = 1.0 / (tl.load(batches) + 1).to(tl.float32)
        kept_mean = tl.load(running_mean + column, mask=there, other=0.0).to(tl.float32)
        kept_var = tl.load(running_var + column, mask=there, other=0.0).to(tl.float32)
        unbiased = (variance * pixels / (pixels - 1.0)).to(tl.float32)
        kept_mean += share * (mean.to(tl.float32) - kept_mean)
        kept_var += share * (unbiased - kept_var)
        tl.store(running_mean + column, kept_mean.to(running_mean.dtype.element_ty), mask=there)
        tl.store(running_var + column, kept_var.to(running_var.dtype.element_ty), mask=there)


@batch_statistics.register_fake
def _statistic_shapes(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    batches: Tensor | None,
    momentum: float,
    epsilon: float,
) -> Tensor:
    return x.new_empty(2, x.shape[3], dtype=torch.float32)

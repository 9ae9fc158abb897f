"""Batch norm's statistics in training, from one pass over a map (B, H, W, C) that gives the same sums in every run."""

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from maxvit.kernels.gpu.maps import COLUMNS, ROWS, Pass, by_channel, channels_of, chunk_of, load, tile_of
from maxvit.kernels.gpu.support import operator


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
    x, pixels = x.detach(), x.shape[:3].numel()
    if pixels == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    first = x.flatten(0, 2)[:1].sum(0, dtype=torch.float64)  # (C,), and 0 where there is no pixel
    offset, square = moments(x) / max(1, pixels)
    variance = (square - offset**2).clamp(min=0)
    mean = first + offset
    if norm.num_batches_tracked is not None and norm.running_mean is not None and norm.running_var is not None:
        norm.num_batches_tracked.add_(1)
        unbiased = variance * (pixels / max(1, pixels - 1))
        momentum = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
        if pixels:
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
    return torch.stack([mean, (variance + norm.eps).rsqrt()]).float()


@operator("maxvit::moments")
def moments(x: Tensor) -> Tensor:
    """Sums of x - first and (x - first)**2, where first is the first pixel: of a large mean no digits are lost.

    Args:
        x: (B, H, W, C), dense.

    Returns:
        (2, C) in float64.
    """
    x = x.contiguous()
    plan = Pass.over(x)
    sums = x.new_empty(plan.chunks, 2, x.shape[3], dtype=torch.float32)
    if x.numel():
        _moments[plan.grid](x, sums, *plan.sizes, ROWS, COLUMNS)
    return sums.sum(0, dtype=torch.float64)


@triton.jit
def _moments(x, sums, pixels, channels, chunks, each, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
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


@moments.register_fake
def _moment_shapes(x: Tensor) -> Tensor:
    return x.new_empty(2, x.shape[3], dtype=torch.float64)

"""The depthwise convolution of MBConv in training with the norm and GELU before it: only the norm's input is kept.

Forward slides down the map, so that GELU is computed three times for a pixel and not nine times. Backward computes it
once: a pixel's gradient and its part in the gradients of the taps need the same gradients of the result around it. It
slides too, and keeps the rows of them that the next pixels need.

Letters: B batch, H W sides of the input, H' W' of the result, C channels. Sums are float32 and the same in every run.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.activation import constant, gelu, gelu_and_slope
from maxvit.kernels.gpu.maps import REGISTERS, divided, load, norm_of
from maxvit.kernels.gpu.normalization import finish
from maxvit.kernels.gpu.strips import Strips, padding, row_at, strip
from maxvit.kernels.gpu.support import operator
from maxvit.layers.mbconv import SameConv2d

MOST_REGISTERS = 168  # of a thread of the backward kernel, so that three programs share a multiprocessor


def depthwise(part: SameConv2d, x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, act: str) -> Tensor:
    """part(act(norm(x))), which keeps x only.

    Args:
        part: 3 x 3, one group for each channel, without a bias.
        x: (B, H, W, C), dense; float32, bfloat16 or float16.
        weight: Weight of the norm, (C,).
        bias: Bias of the norm, (C,).
        found: Its `statistics` of x. Gradients take into account that they depend on x.
        act: "tanh" or "erf".

    Returns:
        (B, H', W', C) in x's type.
    """
    symmetric = part.padding[0] == 1
    out: Tensor = norm_depthwise(x, weight, bias, found, part.weight, act, part.stride[0], symmetric)
    return out


@operator("maxvit::norm_depthwise")
def norm_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, kernel: Tensor, act: str, stride: int, symmetric: bool
) -> Tensor:
    """See `depthwise`; `kernel` is (C, 1, 3, 3), and `symmetric` as in `SameConv2d`."""
    x, out = x.contiguous(), _shapes(x, weight, bias, found, kernel, act, stride, symmetric)
    plan = Strips.over(x, stride, symmetric, out.shape[1], out.shape[2])
    if x.numel():
        given = (x, found, weight, bias, kernel.contiguous(), out)
        _forward[plan.grid](*given, *plan.runtime, constant(x, act), *plan.constants, maxnreg=REGISTERS)
    return out


@operator("maxvit::norm_depthwise_gradient")
def norm_depthwise_gradient(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    kernel: Tensor,
    grad: Tensor,
    act: str,
    stride: int,
    symmetric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of `norm_depthwise`'s x, weight, bias and kernel, from that of its result."""
    x, grad, channels = x.contiguous(), grad.contiguous(), x.shape[3]
    top, left = padding(x, symmetric or stride == 1)
    # A step covers `stride` rows and columns of the padded input.
    steps = (divided(x.shape[1] + top, stride), divided(x.shape[2] + left, stride))
    plan = Strips.over(x, stride, symmetric, *steps)
    inner, sums = torch.empty_like(x), x.new_empty(plan.grid[0], 2, channels, dtype=torch.float32)
    of_taps = x.new_empty(plan.grid[0], channels, 9, dtype=torch.float32)
    if x.numel():
        given = (x, grad, found, weight, bias, kernel.contiguous(), inner, sums, of_taps, *grad.shape[1:3])
        _backward[plan.grid](*given, *plan.runtime, constant(x, act), *plan.constants, maxnreg=MOST_REGISTERS)
    of_kernel = of_taps.sum(0).view(kernel.shape).to(kernel.dtype)
    return *finish(x, inner, weight, bias, found, sums, inner, "none"), of_kernel


@triton.jit
def _by_tap_row(x, norm, taps, image, row, column, height, width, channel, channels, FORMULA: tl.constexpr):
    """What a row of the input adds to the results whose first, second and third it is: [PIXELS, BLOCK] each."""
    mean, scale, shift = norm
    first = tl.zeros([column.shape[0], channel.shape[0]], tl.float32)
    second, third = first, first
    for dx in tl.static_range(3):
        at, real = row_at(image, row, column + dx, height, width, channel, channels)
        z = (load(x, at, real) - mean[None, :]) * scale[None, :] + shift[None, :]
        a = tl.where(real, gelu(z, FORMULA), 0.0)  # the padding is of zeros behind GELU
        first += a * taps[dx][None, :]
        second += a * taps[3 + dx][None, :]
        third += a * taps[6 + dx][None, :]
    return first, second, third


@triton.jit
def _all_taps(taps, channel, channels):
    """The nine taps of each channel, (C, 9): [BLOCK] each, row by row."""
    place, there = taps + channel * 9, channel < channels
    return (
        tl.load(place, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 1, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 2, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 3, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 4, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 5, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 6, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 7, mask=there, other=0.0).to(tl.float32),
        tl.load(place + 8, mask=there, other=0.0).to(tl.float32),
    )


@triton.jit
def _forward(
    x,
    found,
    weight,
    bias,
    taps,
    out,
    height,
    width,
    channels,
    down,
    along,
    top,
    left,
    units,
    bands,
    strips,
    high,
    each,
    FORMULA: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    norm, k = norm_of(found, weight, bias, channel, channels), _all_taps(taps, channel, channels)
    for unit in range(tl.program_id(0) * each, min((tl.program_id(0) + 1) * each, units)):
        image, begin, end, to = strip(unit, down, bands, strips, high, PIXELS)
        row, column = begin * STRIDE - top, to * STRIDE - left
        now, _, _ = _by_tap_row(x, norm, k, image, row, column, height, width, channel, channels, FORMULA)
        if STRIDE == 1:
            later, more, _ = _by_tap_row(x, norm, k, image, row + 1, column, height, width, channel, channels, FORMULA)
            now += more
        for i in range(begin, end):
            row = i * STRIDE - top
            if STRIDE == 2:
                _, more, _ = _by_tap_row(x, norm, k, image, row + 1, column, height, width, channel, channels, FORMULA)
                now += more
            first, second, third = _by_tap_row(
                x, norm, k, image, row + 2, column, height, width, channel, channels, FORMULA
            )
            at, real = row_at(image, i, to, down, along, channel, channels)
            tl.store(out + at, (now + third).to(out.dtype.element_ty), mask=real)
            now = first
            if STRIDE == 1:
                now, later = later + second, first


@triton.jit
def _backward(
    x,
    grad,
    found,
    weight,
    bias,
    taps,
    inner,
    sums,
    of_taps,
    out_height,
    out_width,
    height,
    width,
    channels,
    down,
    along,
    top,
    left,
    units,
    bands,
    strips,
    high,
    each,
    FORMULA: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mean, scale, shift = norm_of(found, weight, bias, channel, channels)
    k = _all_taps(taps, channel, channels)
    total = tl.zeros([PIXELS, BLOCK], tl.float32)
    along_x = total
    of_k = (total, total, total, total, total, total, total, total, total)
    for unit in range(tl.program_id(0) * each, min((tl.program_id(0) + 1) * each, units)):
        image, begin, end, column = strip(unit, down, bands, strips, high, PIXELS)
        near = grad, image, out_height, out_width, column, channel, channels
        held = _gradients(*near, begin - 1, STRIDE)
        if STRIDE == 1:
            held += _gradients(*near, begin - 2, STRIDE)
        for i in range(begin, end):
            window = _gradients(*near, i, STRIDE) + held
            # Tap (dy, dx) joins input (i * STRIDE + dy % STRIDE, ...) to result (i - dy // STRIDE, ...).
            for a in tl.static_range(STRIDE):
                for b in tl.static_range(STRIDE):
                    at, real = row_at(
                        image, i * STRIDE + a - top, column * STRIDE + b - left, height, width, channel, channels
                    )
                    off = load(x, at, real) - mean[None, :]
                    passed, slope = gelu_and_slope(off * scale[None, :] + shift[None, :], FORMULA)
                    passed = tl.where(real, passed, 0.0)
                    h = tl.zeros([PIXELS, BLOCK], tl.float32)
                    for dy in tl.static_range(a, 3, STRIDE):
                        for dx in tl.static_range(b, 3, STRIDE):
                            g = window[(dy // STRIDE) * (4 - STRIDE) + dx // STRIDE]
                            h += g * k[3 * dy + dx][None, :]
                            of_k = _added(of_k, 3 * dy + dx, g * passed)
                    h = tl.where(real, h * slope, 0.0)
                    tl.store(inner + at, h.to(inner.dtype.element_ty), mask=real)
                    total += h
                    along_x += h * off
            held = window[: (4 - STRIDE) * (3 - STRIDE)]
    to = tl.program_id(0).to(tl.int64) * channels + channel
    tl.store(sums + 2 * to - channel, tl.sum(total, 0), mask=channel < channels)
    tl.store(sums + 2 * to - channel + channels, tl.sum(along_x, 0), mask=channel < channels)
    for tap in tl.static_range(9):
        tl.store(of_taps + to * 9 + tap, tl.sum(of_k[tap], 0), mask=channel < channels)


@triton.jit
def _gradients(grad, image, height, width, column, channel, channels, row, STRIDE: tl.constexpr):
    """Those of a row of results, at some columns and to their left: a tile for each column that taps reach."""
    at, real = row_at(image, row, column, height, width, channel, channels)
    first = load(grad, at, real)
    at, real = row_at(image, row, column - 1, height, width, channel, channels)
    second = load(grad, at, real)
    if STRIDE == 2:
        return first, second
    at, real = row_at(image, row, column - 2, height, width, channel, channels)
    return first, second, load(grad, at, real)


@triton.jit
def _added(sums, place: tl.constexpr, x):
    """The sums with x added to one of them."""
    return sums[:place] + (sums[place] + x,) + sums[place + 1 :]  # noqa: RUF005 - Triton has no starred tuples


@norm_depthwise.register_fake
def _shapes(
    x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, kernel: Tensor, act: str, stride: int, symmetric: bool
) -> Tensor:
    height, width = (x.shape[1] + stride - 1) // stride, (x.shape[2] + stride - 1) // stride
    return x.new_empty(x.shape[0], height, width, x.shape[3])


@norm_depthwise_gradient.register_fake
def _gradient_shapes(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    found: Tensor,
    kernel: Tensor,
    grad: Tensor,
    act: str,
    stride: int,
    symmetric: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(x), torch.empty_like(weight), torch.empty_like(bias), torch.empty_like(kernel)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.act, ctx.stride, ctx.symmetric = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    *of_norm, of_kernel = norm_depthwise_gradient(*ctx.saved_tensors, grad, ctx.act, ctx.stride, ctx.symmetric)
    return *of_norm, None, of_kernel, None, None, None


norm_depthwise.register_autograd(_differentiate, setup_context=_keep)

"""Batch norm and an activation in training on maps (B, H, W, C): one pass each way, and only the input is kept."""

import ctypes
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maxvit.kernels.cpu.ctypes_calls import activation_code, address, call, structure

Maps = structure("Maps", longs="images pixels channels", ints="activation", pointers="norm scale pull")


def maps(x: Tensor, code: int, *tensors: Tensor) -> ctypes.Structure:
    """struct Maps of a map (B, H, W, C): with its activation, its norm, and the scale and pull of its channels."""
    return Maps(x.shape[0], x.shape[1:3].numel(), x.shape[3], code, *map(address, tensors))


def blocks(x: Tensor) -> int:
    """How many sums the kernels give for each image of a map (B, H, W, C), to be added up."""
    return call("blocks", x.shape[1:3].numel())


def statistics(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """Mean and inverse deviation over a batch (B, H, W, C), as (2, C); the running statistics take them in.

    Raises:
        ValueError: If the batch holds one value of a channel, as `nn.BatchNorm2d` does.
    """
    batch, pixels, channels = x.shape[0], x.shape[1:3].numel(), x.shape[3]
    if batch * pixels == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    sums = x.new_empty(batch * blocks(x), 2, channels)
    call("moments", batch, pixels, channels, x.detach(), sums)
    offset, square = sums.double().sum(0) / (batch * pixels)  # (C,) each, about the first pixel's values
    variance = (square - offset**2).clamp(min=0)
    mean = x.detach()[0, 0, 0] + offset
    if norm.num_batches_tracked is not None and norm.running_mean is not None and norm.running_var is not None:
        norm.num_batches_tracked.add_(1)
        momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        unbiased = variance * (batch * pixels / (batch * pixels - 1))
        norm.running_mean.lerp_(mean.to(x.dtype), momentum)
        norm.running_var.lerp_(unbiased.to(x.dtype), momentum)
    return torch.stack([mean, (variance + norm.eps).rsqrt()]).to(x.dtype)


def affine(found: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Scale, shift and mean of a norm, (3, C), from its `statistics`."""
    mean, inverse = found
    scale = weight * inverse
    return torch.stack([scale, bias - mean * scale, mean])


def input_gradient(x: Tensor, grad: Tensor, sums: Tensor, found: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The rest of a norm's backward: `grad`, of its output, becomes that of its input x, in place.

    Args:
        x: (B, H, W, C).
        grad: (B, H, W, C).
        sums: (..., 2, C), of grad and of grad * (x - mean), over parts of them.
        found: `statistics`.
        weight: (C,).

    Returns:
        The gradients of weight and bias, (C,) each.
    """
    mean, inverse = found
    total, along = sums.flatten(0, -3).double().sum(0)
    pixels = x.shape[:3].numel()
    scale = (weight * inverse).double()
    slope = -scale * inverse**2 * along / pixels
    line = torch.stack([scale, slope, -scale * total / pixels - slope * mean]).to(x.dtype)  # (3, C)
    call("combine", x.shape[0], x.shape[1:3].numel(), x.shape[3], x, line, grad)
    return (along * inverse).to(x.dtype), total.to(x.dtype)


def normalize(x: Tensor, norm: nn.BatchNorm2d, act: nn.Module | None = None) -> Tensor:
    """act(norm(x)), (B, H, W, C)."""
    return normalized(x, norm.weight, norm.bias, statistics(x, norm), activation_code(act) if act else 0)


def normalized(x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, code: int = 0) -> Tensor:
    """The same from statistics that are known."""
    out: Tensor = _Normalized.apply(x, weight, bias, found, code)
    return out


class _Normalized(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, found: Tensor, code: int) -> Tensor:
        ctx.code = code
        ctx.save_for_backward(x, weight, bias, found)
        y, norm = torch.empty_like(x), affine(found, weight, bias)
        call("apply", maps(x, code, norm), x, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, found = ctx.saved_tensors
        out, norm = torch.empty_like(x), affine(found, weight, bias)
        sums = x.new_empty(x.shape[0] * blocks(x), 2, x.shape[3])
        call("apply_gradient", maps(x, ctx.code, norm), x, grad.contiguous(), out, sums)
        return out, *input_gradient(x, out, sums, found, weight), None, None

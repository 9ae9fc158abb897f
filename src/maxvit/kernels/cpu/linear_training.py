"""Linear layers that do not keep their input: backward makes it again from what it was made of."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maxvit.kernels.cpu.ctypes_calls import activation_code, call


def linear_of(make: Callable[..., Tensor], layer: nn.Linear | nn.Conv2d, *inputs: Tensor) -> Tensor:
    """layer(make(*inputs)), which keeps the inputs only. `make` is cheap, pure, and differentiable in all of them.

    Args:
        make: Gives (..., C).
        layer: A linear layer, or a 1 x 1 convolution, which is one on channels-last maps.
        inputs: What it takes, parameters too.

    Returns:
        (..., C_out).
    """
    out: Tensor = _LinearOf.apply(make, layer.weight.flatten(1), layer.bias, *inputs)
    return out


class _LinearOf(Function):
    @staticmethod
    def forward(ctx: Any, make: Callable[..., Tensor], weight: Tensor, bias: Tensor | None, *inputs: Tensor) -> Tensor:
        ctx.make, ctx.has_bias = make, bias is not None
        ctx.save_for_backward(weight, *inputs)
        return F.linear(make(*inputs), weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in inputs]
            made = ctx.make(*inputs)  # (..., C)
        rows = grad.flatten(0, -2)  # (M, C_out)
        grads = rows.t() @ made.detach().flatten(0, -2), rows.sum(0) if ctx.has_bias else None
        return None, *grads, *torch.autograd.grad(made, inputs, grad @ weight)


def linear_of_gelu(layer: nn.Linear, act: nn.GELU, x: Tensor) -> Tensor:
    """layer(act(x)), which keeps x only: (..., C) -> (..., C_out). x is dense, C a multiple of the kernels' width."""
    out: Tensor = _LinearOfGelu.apply(x, layer.weight, layer.bias, activation_code(act))
    return out


class _LinearOfGelu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, code: int) -> Tensor:
        ctx.code = code
        ctx.save_for_backward(x, weight)
        made = torch.empty_like(x)
        call("activation", x.numel(), code, x, None, made)
        return F.linear(made, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        inner, made = grad @ weight, torch.empty_like(x)  # (..., C) both
        call("activation", x.numel(), ctx.code, x, inner, made)  # inner becomes the gradient of x
        rows = grad.flatten(0, -2)  # (M, C_out)
        return inner, rows.t() @ made.flatten(0, -2), rows.sum(0), None

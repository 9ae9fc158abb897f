"""Weights of a layer in the type that it computes in: all by one kernel, and their gradients back by another."""

from typing import Any

import torch
from torch import Tensor


def cast(dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
    """Matrices (out, in) and vectors of a type. Differentiable.

    Args:
        dtype: The type.
        weights: Of convolutions over one pixel, (out, in, 1, 1), of linear layers, and biases; all of one type.
    """
    if weights[0].dtype == dtype:
        return tuple(weight.flatten(1) if weight.ndim == 4 else weight for weight in weights)
    matrices: tuple[Tensor, ...] = _Cast.apply(dtype, *weights)
    return matrices


class _Cast(torch.autograd.Function):
    """The copies lie in one piece of memory, behind one another."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.shapes, ctx.dtype = [w.shape for w in weights], weights[0].dtype
        return _copied(weights, [w.shape[:2] for w in weights], dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_copied(gradients, ctx.shapes, ctx.dtype)


def _copied(tensors: tuple[Tensor, ...], shapes: list[torch.Size], dtype: torch.dtype) -> tuple[Tensor, ...]:
    memory = tensors[0].new_empty(sum(t.numel() for t in tensors), dtype=dtype)
    parts = memory.split([t.numel() for t in tensors])
    copies = [_shaped(part, shape) for part, shape in zip(parts, shapes, strict=True)]
    torch._foreach_copy_([_shaped(c, t.shape) for c, t in zip(copies, tensors, strict=True)], list(tensors))
    return tuple(copies)


def _shaped(x: Tensor, shape: torch.Size) -> Tensor:
    return x if x.shape == shape else x.view(shape)

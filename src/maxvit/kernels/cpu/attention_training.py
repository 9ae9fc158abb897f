"""The core of group attention in training: in place on the map, and no probability is kept."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maxvit.kernels.cpu.ctypes_calls import address, call, structure, width
from maxvit.kernels.cpu.inference import real_groups
from maxvit.kernels.cpu.packing import NEVER
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Axis, Size

Attention = structure("Attention", longs="channels heads tokens", pointers="position")


def attend(part: GroupAttention, qkv: Tensor) -> Tensor:
    """The attention of a layer: (B, H, W, 3C), as its `qkv` gives it -> (B, H, W, C), as its `proj` takes it."""
    out: Tensor = _Attend.apply(qkv, part.bias(), part.size, part.axis)
    return out


class _Attend(Function):
    """Takes the bias as (N, T, T)."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, size: Size, axis: Axis) -> Tensor:
        ctx.size, ctx.axis = size, axis
        ctx.save_for_backward(qkv, bias)
        out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
        _call("attention", ctx, qkv, bias, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        qkv, bias = ctx.saved_tensors
        out, by_share = qkv.new_empty(qkv.shape), bias.new_zeros(call("shares"), *bias.shape)
        _call("attention_gradient", ctx, qkv, bias, grad.contiguous(), out, by_share)
        return out, by_share.sum(0), None, None


def _call(name: str, ctx: Any, qkv: Tensor, bias: Tensor, *tensors: Tensor) -> None:
    position = F.pad(bias, (0, -bias.shape[2] % width()), value=NEVER)
    groups = real_groups((qkv.shape[1], qkv.shape[2]), ctx.size, ctx.axis)
    attention = Attention(qkv.shape[3] // 3, bias.shape[0], bias.shape[1], address(position))
    call(name, attention, groups, qkv.shape[0], qkv, *tensors)

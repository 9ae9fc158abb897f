"""Weights as the native kernels read them."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.layers.attention import GroupAttention
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer

Precision = Literal["fp32", "fp16", "int8"]
NEVER = -1e30  # a score that softmax makes zero, as in src/attention.h


class Packing(NamedTuple):
    """How weights are packed.

    Attributes:
        width: Columns of a panel, one of `build.widths`.
        precision: Of the products of blocks, and in fp16 of the stem's second convolution.
    """

    width: int
    precision: Precision = "fp32"


def packed(layer: nn.Linear | nn.Conv2d, packing: Packing) -> list[Tensor]:
    """Struct Weights: a layer's weight as the kernels read it, its bias, each column's scale and sum, where needed."""
    return pack(*rows(layer), packing)


def rows(layer: nn.Linear | nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A layer's weight as a matrix (out, in), a kernel's pixels one after the other, and its bias; zeros for none."""
    weight = layer.weight.detach()
    if weight.ndim == 4:
        weight = weight.permute(0, 2, 3, 1).flatten(1)
    return weight, weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.detach()


def pack(weight: Tensor, bias: Tensor, packing: Packing) -> list[Tensor]:
    """The same for a weight (out, in) and a bias (out) of any type."""
    width, precision = packing
    nothing = torch.empty(0)
    if precision == "fp32":
        return [_panels(weight.float(), width), bias.float(), nothing, nothing]
    most = weight.abs().amax(1).clamp(min=1e-30).double()  # (out)
    if precision == "fp16":
        scale = torch.exp2(most.log2().floor())
        halves = _panels((weight / scale[:, None]).half(), width, 2)
        return [halves.view(torch.int16), bias.float(), scale.float(), nothing]  # integers stay as they are in `half`
    scale = most / 127
    levels = (weight / scale[:, None]).round()
    panels = _panels(levels.to(torch.int8), width, 4)
    return [panels, bias.float(), scale.float(), (scale * levels.sum(1)).float()]


def _panels(weight: Tensor, width: int, together: int = 1) -> Tensor:
    """(out, in) -> (out / width, in / together, width, together)."""
    return weight.unflatten(0, (-1, width)).unflatten(2, (-1, together)).transpose(1, 2).contiguous()


def transformed(conv: nn.Conv2d, packing: Packing, more: int = 0) -> list[Tensor]:
    """A 3 x 3 convolution as 16 products, one for each of 4 x 4 transformed pixels: see src/stem.h.

    Only the one at (1, 1) of the 16 comes back to all four pixels as it is: it has the bias.

    Args:
        conv: The layer.
        packing: See `pack`.
        more: Channels that its input has besides, and that do not count.
    """
    turn = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], dtype=torch.float64)
    weight = turn @ conv.weight.detach().double() @ turn.t()  # (C, C, 4, 4)
    parts = F.pad(weight.permute(2, 3, 0, 1).flatten(0, 1), (0, more))  # (16, C, C_in)
    biases = torch.zeros(16, conv.out_channels)
    biases[5] = rows(conv)[1]
    packs = [pack(part, bias, packing) for part, bias in zip(parts, biases, strict=True)]
    return [torch.stack(same) for same in zip(*packs, strict=True)]


def mbconv_weights(part: MBConv, packing: Packing) -> list[Tensor]:
    """In the order of struct MBConv."""
    assert part.depthwise.bias is not None
    weights = packed(part.expand, packing)
    weights += [part.depthwise.weight.flatten(1).t(), part.depthwise.bias]
    weights += [part.se.reduce.weight.flatten(1), _bias(part.se.reduce)]
    weights += [part.se.expand.weight.flatten(1).t(), _bias(part.se.expand)]
    weights += packed(part.project, packing)
    if isinstance(part.shortcut.conv, nn.Conv2d):
        weights += packed(part.shortcut.conv, Packing(packing.width))
    return weights


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def attention_weights(layer: AttentionLayer, packing: Packing) -> list[Tensor]:
    """In the order of struct AttentionLayer; the products hold the norms' scales and shifts and the scores' scale."""
    attention: GroupAttention = layer.attention
    qkv, qkv_bias = _after_norm(layer.norm1, attention.qkv)
    scale = torch.ones(3, attention.qkv.in_features, dtype=qkv.dtype)
    scale[0] = (attention.qkv.in_features // attention.heads) ** -0.5
    weights = pack(qkv * scale.flatten()[:, None], qkv_bias * scale.flatten(), packing)
    position = attention.bias()
    weights += [F.pad(position, (0, -position.shape[2] % packing.width), value=NEVER)]
    weights += packed(attention.proj, packing)
    weights += pack(*_after_norm(layer.norm2, layer.ffn.expand), packing)
    return weights + packed(layer.ffn.project, packing)


def _after_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of linear(norm(x)), for x that is normalised already; float64, to be rounded once."""
    weight = linear.weight.double()
    return weight * norm.weight.double(), weight @ norm.bias.double() + linear.bias.double()

"""Layers that train on the native CPU kernels; see `maxvit.kernels.accelerate`."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.kernels.cpu.attention_training import attend
from maxvit.kernels.cpu.build import KernelsUnavailable
from maxvit.kernels.cpu.ctypes_calls import width
from maxvit.kernels.cpu.inference import unsupported
from maxvit.kernels.cpu.linear_training import linear_of, linear_of_gelu
from maxvit.kernels.cpu.mbconv_training import mbconv
from maxvit.kernels.cpu.norm_training import normalize
from maxvit.layers.layer_scale import scaled
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.model import MaxViT, Stem


def obstacle(model: MaxViT) -> str:
    """Why these kernels cannot train a network, in a few words; nothing where they can."""
    try:
        return unsupported(model, width())
    except KernelsUnavailable as error:
        return str(error)


def serves(layer: nn.Module, x: Tensor) -> bool:
    """Whether a layer takes this input by them."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _stem(part: Stem, x: Tensor) -> Tensor:
    """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
    if part.norm.num_features % width():  # maxvit_pico's 24: less than a hundredth of its operations
        return Stem.forward(part, x)
    y = part.conv1(x).permute(0, 2, 3, 1).contiguous()  # (B, H', W', C)
    return part.conv2(normalize(y, part.norm, part.act).permute(0, 3, 1, 2))


def _attention_layer(part: AttentionLayer, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W)."""
    tokens = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    qkv = _linear_of_norm(part.norm1, part.attention.qkv, tokens)  # (B, H, W, 3C)
    tokens = tokens + part.drop_path(scaled(part.scale1, part.attention.proj(attend(part.attention, qkv))))
    hidden = _linear_of_norm(part.norm2, part.ffn.expand, tokens)  # (B, H, W, 4C)
    tokens = tokens + part.drop_path(scaled(part.scale2, linear_of_gelu(part.ffn.project, part.ffn.act, hidden)))
    return tokens.permute(0, 3, 1, 2)


def _linear_of_norm(norm: nn.LayerNorm, layer: nn.Linear, x: Tensor) -> Tensor:
    make = functools.partial(F.layer_norm, normalized_shape=norm.normalized_shape, eps=norm.eps)
    return linear_of(lambda t, w, b: make(t, weight=w, bias=b), layer, x, norm.weight, norm.bias)


FORWARDS: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    Stem: _stem,
    MBConv: mbconv,
    AttentionLayer: _attention_layer,
}

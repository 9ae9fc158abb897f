"""`maxvit.accelerate`: the network for training on the CPU, with the same parameters, in less time and memory."""

import copy
import functools
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.kernels.allocator import keep_freed_memory
from maxvit.kernels.calls import width
from maxvit.kernels.convolution import mbconv
from maxvit.kernels.folding import is_optimized
from maxvit.kernels.grouping import attend
from maxvit.kernels.library import KernelsUnavailable
from maxvit.kernels.linear import linear_of, linear_of_gelu
from maxvit.kernels.native import unsupported
from maxvit.kernels.normalization import normalize
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.model import MaxViT, Stem


def accelerate(model: MaxViT) -> MaxViT:
    """The same network for training, on native CPU kernels that compute again in backward what is cheap.

    Parameters and running statistics are those of `model`: training one trains the other, until one is moved, converted
    or given a new classifier. In evaluation, under autocast and where parameters are frozen its layers compute as those
    of `model` do. From this call on the process keeps the memory that it frees, for the tensors of the next step.

    Args:
        model: In float32, on the CPU. Where it is not, or the kernels cannot be used, it comes back as it is, with a
            warning that says why.

    Returns:
        The network to call in training; what is saved and evaluated is `model`.
    """
    if reason := obstacle(model):
        warnings.warn(f"the network is trained by plain PyTorch: {reason}", stacklevel=2)
        return model
    keep_freed_memory()
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    fast = copy.deepcopy(model, shared)
    for layer in fast.modules():
        for kind, forward in _FORWARDS.items():
            if isinstance(layer, kind):
                layer.forward = functools.partial(_either, forward, layer)
    return fast


def obstacle(model: MaxViT) -> str:
    """Why the native kernels cannot train a network, in a few words; nothing where they can."""
    if is_optimized(model):
        return "it is optimised, and can only compute"
    try:
        return unsupported(model, width())
    except KernelsUnavailable as error:
        return str(error)


def _either(forward: Callable[[Any, Tensor], Tensor], layer: nn.Module, x: Tensor) -> Tensor:
    """The fast way while training, the layer's own otherwise."""
    plain = torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled()
    plain = plain or x.dtype != torch.float32 or x.device.type != "cpu"
    fast = not plain and all(m.training for m in layer.modules()) and all(p.requires_grad for p in layer.parameters())
    return forward(layer, x) if fast else type(layer).forward(layer, x)


def _stem(part: Stem, x: Tensor) -> Tensor:
    """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
    y = part.conv1(x).permute(0, 2, 3, 1).contiguous()  # (B, H', W', C)
    return part.conv2(normalize(y, part.norm, part.act).permute(0, 3, 1, 2))


def _attention_layer(part: AttentionLayer, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W)."""
    tokens = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    qkv = _linear_of_norm(part.norm1, part.attention.qkv, tokens)  # (B, H, W, 3C)
    tokens = tokens + part.drop_path(part.attention.proj(attend(part.attention, qkv)))
    hidden = _linear_of_norm(part.norm2, part.ffn.expand, tokens)  # (B, H, W, 4C)
    tokens = tokens + part.drop_path(linear_of_gelu(part.ffn.project, part.ffn.act, hidden))
    return tokens.permute(0, 3, 1, 2)


def _linear_of_norm(norm: nn.LayerNorm, layer: nn.Linear, x: Tensor) -> Tensor:
    make = functools.partial(F.layer_norm, normalized_shape=norm.normalized_shape, eps=norm.eps)
    return linear_of(lambda t, w, b: make(t, weight=w, bias=b), layer, x, norm.weight, norm.bias)


_FORWARDS: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    Stem: _stem,
    MBConv: mbconv,
    AttentionLayer: _attention_layer,
}

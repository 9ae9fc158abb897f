"""`maxvit.accelerate`: the network for training on the CPU, with the same parameters, in less time and memory."""

import copy
import functools
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.kernels.convolution import mbconv
from maxvit.kernels.grouping import attend
from maxvit.kernels.library import KernelsUnavailable, load
from maxvit.kernels.linear import gelu, linear_of
from maxvit.kernels.normalization import normalize
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.model import MaxViT, Stem


def accelerate(model: MaxViT) -> MaxViT:
    """The same network for training, on native CPU kernels that compute again in backward what is cheap.

    Parameters and running statistics are those of `model`: training one trains the other. In evaluation, with frozen
    parameters and under autocast its layers compute as those of `model` do.

    Args:
        model: In fp32, on the CPU. Where it is not, or the kernels cannot be used, it is returned as it is, with a
            warning that says why.
    """
    if (reason := obstacle(model)) is not None:
        warnings.warn(f"training uses plain PyTorch: {reason}", stacklevel=2)
        return model
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    fast = copy.deepcopy(model, shared)
    for layer in fast.modules():
        for kind, forward in _FORWARDS.items():
            if isinstance(layer, kind):
                layer.forward = functools.partial(_either, forward, layer)
    return fast


def obstacle(model: MaxViT) -> str | None:
    """Why the native kernels cannot train this network, in a phrase; None where they can."""
    try:
        width = load().maxvit_width()
    except KernelsUnavailable as error:
        return str(error)
    devices, types = {p.device.type for p in model.parameters()}, {p.dtype for p in model.parameters()}
    if devices != {"cpu"}:
        return f"the kernels run on the CPU, and the network is on {', '.join(sorted(devices))}"
    if types != {torch.float32}:
        return f"the kernels take float32, and the network is {', '.join(sorted(map(str, types)))}"
    config = model.config
    for n in (config.stem_channels, config.head_dim, *config.channels):
        if n % width:
            return f"the kernels take channels by {width}, and the network has {n}"
    return None


def _either(forward, layer: nn.Module, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """The fast way while training, the layer's own otherwise."""
    plain = torch.is_autocast_enabled("cpu") or not torch.is_grad_enabled() or x.dtype != torch.float32
    fast = not plain and all(m.training for m in layer.modules()) and all(p.requires_grad for p in layer.parameters())
    return forward(layer, x) if fast else type(layer).forward(layer, x)  # type: ignore[no-any-return]


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
    tokens = tokens + part.drop_path(linear_of(lambda t: gelu(t, part.ffn.act), part.ffn.project, hidden))
    return tokens.permute(0, 3, 1, 2)


def _linear_of_norm(norm: nn.LayerNorm, layer: nn.Linear, x: Tensor) -> Tensor:
    make = functools.partial(F.layer_norm, normalized_shape=norm.normalized_shape, eps=norm.eps)
    return linear_of(lambda t, w, b: make(t, weight=w, bias=b), layer, x, norm.weight, norm.bias)


_FORWARDS = {Stem: _stem, MBConv: mbconv, AttentionLayer: _attention_layer}

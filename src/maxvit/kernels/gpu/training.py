"""Layers that train on the Triton kernels; see `maxvit.kernels.accelerate`."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.kernels.gpu import support
from maxvit.kernels.gpu.activation import is_erf
from maxvit.kernels.gpu.attention import attend
from maxvit.kernels.gpu.casting import cast
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.linear import normed_linear
from maxvit.kernels.gpu.mbconv_training import mbconv
from maxvit.kernels.gpu.normalization import normalize
from maxvit.layers.drop_path import DropPath
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.model import Stem

# Kinds of layers and channels of their input that PyTorch, or its compiler where the network is compiled, computes
# faster. Nobody has measured it: `benchmarks/gpu_measure.py --parts kernels` will say what belongs here.
LEFT_TO_PYTORCH: frozenset[tuple[type[nn.Module], int]] = frozenset()
INTERPRETED = support.interpreted()  # asked once: a compiler cannot trace the question


def serves(layer: nn.Module, x: Tensor) -> bool:
    """Whether a layer takes this input by them; statistics that processes share are PyTorch's."""
    if any(isinstance(layer, kind) and channels == x.shape[1] for kind, channels in LEFT_TO_PYTORCH):
        return False
    here = x.device.type == "cuda" or INTERPRETED  # it may have been moved since `obstacle` looked
    return here and x.dtype in support.TYPES and not any(isinstance(m, nn.SyncBatchNorm) for m in layer.modules())


def stem(part: Stem, x: Tensor) -> Tensor:
    """(B, C_in, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)); of the maps between the convolutions one is kept."""
    y = part.conv1(x).permute(0, 2, 3, 1).contiguous()  # (B, H', W', C)
    return part.conv2(normalize(y, part.norm, part.act).permute(0, 3, 1, 2))


def attention_layer(layer: AttentionLayer, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W); of maps it keeps the input, Q K V, what is attended to and the sum."""
    attention, ffn, dtype = layer.attention, layer.ffn, support.compute_type(x)
    tokens = x.permute(0, 2, 3, 1).to(dtype).contiguous()  # (B, H, W, C)
    parts = attention.qkv, attention.proj, ffn.expand, ffn.project, layer.norm1, layer.norm2
    weights, biases = [part.weight for part in parts], [part.bias for part in parts]
    qkv, mix, expand, project, gamma1, gamma2, *shifts = cast(dtype, *weights, *biases)
    of_qkv, of_mix, of_expand, of_project, beta1, beta2 = shifts
    mixed = attend(attention, normed_linear(tokens, gamma1, beta1, qkv, of_qkv, layer.norm1.eps))
    tokens = tokens + layer.drop_path(F.linear(mixed, mix, of_mix))
    scale, epsilon, erf = _kept(layer.drop_path, tokens), layer.norm2.eps, is_erf(ffn.act)
    tokens = feedforward(tokens, gamma2, beta2, expand, of_expand, project, of_project, scale, epsilon, erf)
    return tokens.permute(0, 3, 1, 2)


def _kept(drop_path: DropPath, x: Tensor) -> Tensor | None:
    """What stochastic depth scales each image's branch by, (B,); None: no image is dropped."""
    if drop_path.rate == 0.0:
        return None
    ones = torch.ones(len(x), 1, 1, 1, device=x.device)
    return drop_path(ones).flatten()


FORWARDS: dict[type[nn.Module], Callable[[Any, Tensor], Tensor]] = {
    Stem: stem,
    MBConv: mbconv,
    AttentionLayer: attention_layer,
}

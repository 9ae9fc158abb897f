"""Batch norms and scales of branches folded into the layers next to them, for inference: the same in fewer steps."""

import copy

from torch import Tensor, nn

from maxvit.errors import MaxViTError
from maxvit.kernels.known import layer_change, untouched
from maxvit.layers.exact import widest
from maxvit.layers.layer_scale import LayerScale
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import AttentionLayer
from maxvit.layers.sharing import made_by_hooks, sharing_copy
from maxvit.model import MaxViT, Stem


def is_optimized(model: MaxViT) -> bool:
    """Whether it is what `fold_for_inference` or `optimize` made of a network."""
    return getattr(model, "norms_are_folded", False)


def fold_for_inference(model: MaxViT, share_weights: bool = False) -> MaxViT:
    """A copy for inference whose convolutions hold the batch norms' scales and shifts; the norms are identities.

    The norm before a 1 x 1 convolution is folded too, which is exact as a 1 x 1 sees no padding. So is the scale of a
    branch of attention or feed-forward, into the branch's last layer. Layers that were
    changed, see `maxvit.kernels.known`, stay as they are.

    Args:
        model: It is left as it is. Its running statistics are used.
        share_weights: What is not folded stays in the memory of the original, which must not change meanwhile.

    Returns:
        The copy, in evaluation mode, its parameters without gradients.

    Raises:
        MaxViTError: If it is optimised already.
    """
    if is_optimized(model):
        raise MaxViTError("the network is optimised already: optimise or export the original")
    folded = (
        (sharing_copy(model) if share_weights else copy.deepcopy(model, made_by_hooks(model)))
        .eval()
        .requires_grad_(False)
    )
    for name, known in untouched(model.config).items():
        if not isinstance(known, Stem | MBConv | AttentionLayer) or layer_change(model, name):
            continue
        part = folded.get_submodule(name)
        if isinstance(part, Stem):
            _fold_after(part.conv1, part.norm)
            part.norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(part, MBConv):
            _fold_before(part.pre_norm, part.expand)
            _fold_after(part.expand, part.expand_norm)
            _fold_after(part.depthwise, part.depthwise_norm)
            part.pre_norm = part.expand_norm = part.depthwise_norm = nn.Identity()  # type: ignore[assignment]
        elif isinstance(part, AttentionLayer):
            _fold_scale(part.attention.proj, part.scale1)
            _fold_scale(part.ffn.project, part.scale2)
            part.scale1 = part.scale2 = None
    folded.norms_are_folded = True  # type: ignore[assignment]
    return folded


def _fold_scale(linear: nn.Linear, scale: LayerScale | None) -> None:
    """scale(linear(x)) as one layer."""
    if scale is not None:
        factor, dtype = widest(scale.scale), linear.weight.dtype
        linear.weight = nn.Parameter((widest(linear.weight) * factor[:, None]).to(dtype), requires_grad=False)
        linear.bias = nn.Parameter((widest(linear.bias) * factor).to(dtype), requires_grad=False)


def _fold_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """norm(conv(x)) as one convolution."""
    scale, shift = _affine(norm)
    bias = 0.0 if conv.bias is None else widest(conv.bias)
    _set(conv, widest(conv.weight) * scale[:, None, None, None], bias * scale + shift)


def _fold_before(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> None:
    """conv(norm(x)) as one 1 x 1 convolution."""
    scale, shift = _affine(norm)
    weight = widest(conv.weight)  # (C_out, C_in, 1, 1)
    bias = 0.0 if conv.bias is None else widest(conv.bias)
    _set(conv, weight * scale[:, None, None], weight[:, :, 0, 0] @ shift + bias)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift (C,) of a norm with its running statistics; what is folded is rounded once."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = widest(norm.weight) / (widest(norm.running_var) + norm.eps).sqrt()
    return scale, widest(norm.bias) - widest(norm.running_mean) * scale


def _set(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(dtype), requires_grad=False)

"""Whether a part of a network is the one that kernels and graphs were written for.

They read the parameters of a layer and compute its formula by themselves. What someone has put into it since, or around
its forward, they would leave out without a word. So they are used for parts in which nothing was changed.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from maxvit.config import MaxViTConfig
from maxvit.layers.attention import GroupAttention
from maxvit.layers.block import MaxViTBlock
from maxvit.layers.drop_path import DropPath
from maxvit.layers.feedforward import FeedForward
from maxvit.layers.layer_scale import LayerScale
from maxvit.layers.mbconv import MBConv, SameConv2d, Shortcut, SqueezeExcite
from maxvit.layers.multiaxis import BlockAttention, GridAttention
from maxvit.layers.position_bias import MLPPositionBias, RelativePositionBias
from maxvit.model import MaxViT, Stem

HOOKS = {
    "forward hook": ("_forward_hooks", "_forward_pre_hooks"),
    "backward hook": ("_backward_hooks", "_backward_pre_hooks"),
}
Kind = type[nn.Module] | tuple[type[nn.Module], ...]  # several: as the dialect has it
CONV, LINEAR, GELU, NORM = nn.Conv2d, nn.Linear, nn.GELU, nn.BatchNorm2d
ACTIVATION = (nn.GELU, nn.SiLU)
LAYER: dict[str, Kind] = {"norm1": nn.LayerNorm, "attention": GroupAttention, "scale1": LayerScale}
LAYER |= {"norm2": nn.LayerNorm, "ffn": FeedForward, "scale2": LayerScale, "drop_path": DropPath}
MBCONV: dict[str, Kind] = {"pre_norm": NORM, "expand": CONV, "expand_norm": NORM, "depthwise": SameConv2d}
MBCONV |= {"depthwise_norm": NORM, "act": ACTIVATION, "se": SqueezeExcite, "project": CONV}
MBCONV |= {"drop_path": DropPath, "shortcut": Shortcut}
# What the kernels know: the modules of each class. It is said here once more, as they would not follow an edit there.
PARTS: dict[type[nn.Module], dict[str, Kind]] = {
    Stem: {"conv1": SameConv2d, "norm": NORM, "act": ACTIVATION, "conv2": SameConv2d},
    MaxViTBlock: {"mbconv": MBConv, "block_attention": BlockAttention, "grid_attention": GridAttention},
    MBConv: MBCONV,
    SqueezeExcite: {"reduce": CONV, "act": nn.SiLU, "expand": CONV},
    BlockAttention: LAYER,
    GridAttention: LAYER,
    GroupAttention: {"qkv": LINEAR, "bias": (RelativePositionBias, MLPPositionBias), "proj": LINEAR},
    RelativePositionBias: {},
    FeedForward: {"expand": LINEAR, "act": GELU, "project": LINEAR},
    DropPath: {},
}
ORDER = "CBG"  # of a block
# And the widths that they take for granted, of a part of a network with this configuration.
WIDTHS: dict[type[nn.Module], Callable[[Any, MaxViTConfig], bool]] = {
    MBConv: lambda m, c: (
        m.expand.out_channels
        == m.project.in_channels
        == c.expansion * (m.project.out_channels if c.dialect.widths_from == "output" else m.expand.in_channels)
    ),
    SqueezeExcite: lambda m, c: (
        (m.expand.out_channels, m.expand.in_channels) == (m.reduce.in_channels, m.reduce.out_channels)
    ),
    GroupAttention: lambda m, c: (
        (m.qkv.out_features, m.proj.in_features) == (3 * m.qkv.in_features, m.qkv.in_features)
        and m.qkv.in_features in (m.proj.out_features, 2 * m.proj.out_features)  # a half, of two in parallel
    ),
    FeedForward: lambda m, c: m.expand.out_features == m.project.in_features == c.expansion * m.expand.in_features,
}
FREE = {"training", "any_size", "gradient_checkpointing", "momentum"}  # attributes that kernels read, or need not


@functools.lru_cache(maxsize=4)
def untouched(config: MaxViTConfig) -> dict[str, nn.Module]:
    """The modules of the network that a configuration describes by name, on the meta device."""
    return dict(MaxViT.outline(config).named_modules())


def layer_change(model: MaxViT, name: str) -> str:
    """What was changed in a part of a network, in a few words; nothing where it is as it was made.

    Args:
        model: The network.
        name: Name of a module that its configuration describes.
    """
    if model.config.dims != 2:
        return f"they compute images, and this network takes maps of {model.config.dims} sides"
    try:
        part = model.get_submodule(name)
    except AttributeError:
        return f"the network has no {name}"
    return _change(part, untouched(model.config)[name], name, model.any_weight()) or _width(part, model.config, name)


def other_order(config: MaxViTConfig) -> str:
    """Why kernels of whole blocks cannot serve a network, in a few words; nothing where its blocks are as they know."""
    orders = sorted(set(config.block_orders))
    if orders == [ORDER]:
        return ""
    return f"they compute MBConv, block attention, grid attention, and this network's blocks are {' and '.join(orders)}"


def _width(part: nn.Module, config: MaxViTConfig, name: str) -> str:
    """A module that is made with other widths than the kernels know."""
    for inner, module in part.named_modules():
        if type(module) in WIDTHS and not WIDTHS[type(module)](module, config):
            return f"{name}{inner and '.'}{inner} has other widths than the kernels know"
    return ""


def network_change(model: MaxViT, *parts: str) -> str:
    """The same of a network: of its own forward, and of all that is in the parts that are named."""
    reasons = (_own_change(model, untouched(model.config)[""], "the network"), *(layer_change(model, p) for p in parts))
    return next(filter(None, reasons), "")


def either(
    serves: Callable[[nn.Module, Tensor], bool],
    fast: Callable[[nn.Module, Tensor], Tensor],
    layer: nn.Module,
    x: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """The forward that `accelerate` gives a layer: the kernels' while all of it trains, its class's otherwise.

    Args:
        serves: Whether the kernels take an input.
        fast: Their forward.
        layer: It is unchanged.
        x: What it is called with.
        mask: Tokens that may be attended to, which the kernels do not know; None: all.
    """
    if mask is not None:
        masked: Tensor = type(layer).forward(layer, x, mask)
        return masked
    trains = torch.is_grad_enabled() and len(x) > 0 and serves(layer, x)
    trains = trains and all(m.training for m in layer.modules()) and all(p.requires_grad for p in layer.parameters())
    result: Tensor = fast(layer, x) if trains else type(layer).forward(layer, x)
    return result


def _change(part: nn.Module, known: nn.Module, name: str, like: Tensor) -> str:
    if reason := _own_change(part, known, name) or _tensor_change(part, known, name, like):
        return reason
    classes = PARTS.get(type(known), {})
    for child, wanted in known.named_children():
        own, path = part.get_submodule(child), f"{name}.{child}"
        kinds = classes.get(child, type(own))
        if type(own) not in (kinds := kinds if isinstance(kinds, tuple) else (kinds,)):
            kind = type(wanted) if type(wanted) in kinds else kinds[0]
            return f"{path} is {_title(type(own), kind)} instead of {_title(kind, type(own))}"
        if reason := _change(own, wanted, path, like):
            return reason
    return ""


def _own_change(part: nn.Module, known: nn.Module, name: str) -> str:
    """A change in what a module is and holds, apart from what its parts hold."""
    if type(part) is not type(known):
        return f"{name} is {_title(type(part), type(known))} instead of {_title(type(known), type(part))}"
    own = vars(part).get("forward")
    if own is not None and getattr(own, "func", None) is not either:
        return f"{name} has another forward"
    for kind, places in HOOKS.items():
        if any(getattr(part, place) for place in places):
            return f"{name} has a {kind}"
    for kind, place in (("module", "_modules"), ("parameter", "_parameters"), ("buffer", "_buffers")):
        given, wanted = ({n for n, x in getattr(m, place).items() if x is not None} for m in (part, known))
        if type(known) in PARTS and not (isinstance(known, MaxViTBlock) and "attention" in known._modules):  # CCP
            absent = {"scale1", "scale2"} - wanted  # as the dialect has it
            wanted = set(PARTS[type(known)]) - absent if kind == "module" else wanted & {"table"}
        if given != wanted:
            extra = sorted(given - wanted)
            return f"{name} has an added {kind} {extra[0]!r}" if extra else f"{name} has no {min(wanted - given)!r}"
    for fact, value in {} if isinstance(known, MaxViT) else vars(known).items():
        free = fact.startswith("_") or fact in FREE
        free = free or (isinstance(known, DropPath) and fact == "rate")
        free = free or (isinstance(known, nn.BatchNorm2d) and fact == "eps")
        if not free and vars(part).get(fact) != value:
            return f"{name}.{fact} is {vars(part).get(fact)} instead of {value}"
    return ""


def _tensor_change(part: nn.Module, known: nn.Module, name: str, like: Tensor) -> str:
    """A change in parameters and buffers, apart from their values; `like` has the type and place of all."""
    wanted = {**known._parameters, **known._buffers}
    for place, kind in ((part._parameters, nn.Parameter), (part._buffers, Tensor)):
        for n, tensor in place.items():
            if tensor is None:
                continue
            shape = wanted[n].shape  # type: ignore[union-attr]
            if type(tensor) is not kind:
                return f"{name}.{n} is a {type(tensor).__name__}"
            if tensor.shape != shape:
                return f"{name}.{n} has shape {tuple(tensor.shape)} instead of {tuple(shape)}"
            if tensor.device != like.device or (tensor.is_floating_point() and tensor.dtype != like.dtype):
                return f"{name}.{n} is {tensor.dtype} on {tensor.device}, others are {like.dtype} on {like.device}"
    return ""


def _title(kind: type[nn.Module], other: type[nn.Module]) -> str:
    """A class; with where it comes from, if the other has the same name."""
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__name__ == other.__name__ else kind.__name__

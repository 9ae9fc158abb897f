"""A graph for images of one size as converters for phones take it: biases are constants, on at most four axes."""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import ExportedProgram

from maxvit.export.options import ExportOptions
from maxvit.export.torch_export import trace
from maxvit.kernels.folding import fold_for_inference
from maxvit.kernels.known import HOOKS
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Size, padded_size, real_tokens
from maxvit.tasks.network import Network, backbone_of, with_backbone

TANH = 2 * math.sqrt(2 / math.pi)  # 1 + tanh(y) is 2 sigmoid(2 y)


def program_of_size(network: Network, options: ExportOptions) -> ExportedProgram:
    """A network as a program for images of one size and as many at once as `options` say, or one.

    What ExecuTorch and Core ML convert: norms are folded, and see `fix_size`. It uses the network's own memory.
    """
    folded = with_backbone(network, fold_for_inference(backbone_of(network), share_weights=True))
    return trace(folded, dataclasses.replace(options, batch=options.batch or 1), fix_size)


class FixedAttention(nn.Module):
    """`GroupAttention` on maps of one size: the same in eval mode, in steps that every converter has.

    Its position bias and what masks padding are one constant, and tokens are gathered one axis after the other.

    Args:
        attention: Of maps with two sides; its layers are used, and its bias as it is now.
        sides: (height, width) of the maps.
    """

    bias: Tensor

    def __init__(self, attention: GroupAttention, sides: Size) -> None:
        super().__init__()
        self.groups, self.heads = attention.groups, attention.heads
        self.sides, self.padded = sides, padded_size(sides, self.groups.span())
        self.qkv, self.qk_norm, self.proj = attention.qkv, attention.qk_norm, attention.proj
        with torch.no_grad():
            bias = attention.bias()  # (N, T, T)
            if (real := real_tokens(sides, self.groups, bias.device)) is not None:
                real = real | ~real.any(-1, keepdim=True)  # a group of a dilated grid may be all padding
                bias = bias.where(real[:, None, None, :], float("-inf")).flatten(0, 1)  # (G * N, T, T)
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, x: Tensor, mask: None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, out_channels)."""
        batch = x.shape[0]
        x = fixed_partition(x, self.groups.cuts(self.sides), self.padded)  # (B * G, T, C)
        qkv = self.qkv(x)
        if self.qk_norm is not None:
            qkv = self.qk_norm(qkv)
        groups, tokens, heads = x.shape[0], x.shape[1], self.heads
        qkv = qkv.reshape(groups, tokens, 3 * heads, -1).transpose(1, 2)  # (B * G, 3N, T, D)
        q, k, v = (qkv[:, i * heads : (i + 1) * heads].flatten(0, 1) for i in range(3))  # (B * G * N, T, D)
        scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))  # (B * G * N, T, T)
        scores = scores.reshape(-1, len(self.bias), tokens, tokens) + self.bias
        out = torch.bmm(scores.softmax(-1).flatten(0, 1), v)  # (B * G * N, T, D)
        out = out.reshape(groups, heads, tokens, -1).transpose(1, 2).flatten(2)  # (B * G, T, C)
        return fixed_unpartition(self.proj(out), batch, self.groups.cuts(self.sides), self.padded, self.sides)


def fixed_partition(x: Tensor, cuts: list[int], padded: Size) -> Tensor:
    """`maxvit.layers.partition.partition` on at most four axes: (B, H, W, C) -> (B * G, T, C).

    Args:
        x: The map.
        cuts: Of its sides, see `Groups.cuts`.
        padded: Its sides with their padding.
    """
    batch, height, width, channels = x.shape
    if (height, width) != padded:
        x = F.pad(x, (0, 0, 0, padded[1] - width, 0, padded[0] - height))
    w1, t1, s1, w2, t2, s2 = cuts
    x = _swap(x, batch * w1, t1, s1)  # (B, w1, s1, t1, w2, t2, s2, C), if it had as many axes
    x = _swap(x, batch * w1 * s1, t1, w2)  # (B, w1, s1, w2, t1, t2, s2, C)
    x = _swap(x, batch * w1 * s1 * w2, t1 * t2, s2)  # (B, w1, s1, w2, s2, t1, t2, C)
    return x.reshape(-1, t1 * t2, channels)


def fixed_unpartition(x: Tensor, batch: int, cuts: list[int], padded: Size, sides: Size) -> Tensor:
    """Undo it: (B * G, T, C) -> (B, H, W, C), without the padding."""
    w1, t1, s1, w2, t2, s2 = cuts
    channels = x.shape[-1]
    x = _swap(x, batch * w1 * s1 * w2, s2, t1 * t2)
    x = _swap(x, batch * w1 * s1, w2, t1)
    x = _swap(x, batch * w1, s1, t1)
    x = x.reshape(batch, *padded, channels)
    return x if padded == sides else x[:, : sides[0], : sides[1]]


def _swap(x: Tensor, before: int, first: int, second: int) -> Tensor:
    """Exchange two axes of these lengths that follow axes of length `before` together."""
    return x if 1 in (first, second) else x.reshape(before, first, second, -1).transpose(1, 2)


def fix_size(module: nn.Module, images: Tensor) -> nn.Module:
    """Make a graph one for these images' size alone, in place; attention that somebody changed stays as it is.

    GELU by the tanh formula is written out: converters for XNNPACK and Core ML take the definition for it.

    Args:
        module: In eval mode, such as `graph_of` gives; it is called once.
        images: What it takes, of that size.
    """
    seen: dict[str, set[Size]] = {}
    hooks = []
    for name, part in module.named_modules():
        if type(part) is GroupAttention and "forward" not in vars(part) and not _has_hooks(part):

            def see(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                seen.setdefault(name, set()).add(tuple(given[0].shape[1:-1]))

            hooks.append(part.register_forward_pre_hook(see))
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    for name, (sides, *others) in seen.items():
        if len(sides) == 2 and not others:
            part = module.get_submodule(name)
            assert isinstance(part, GroupAttention)
            module.set_submodule(name, FixedAttention(part, sides))
    for name, part in list(module.named_modules()):
        if type(part) is nn.GELU and part.approximate == "tanh":
            module.set_submodule(name, TanhGELU())
    return module


class TanhGELU(nn.Module):
    """GELU by the tanh formula, in steps of which each is what it says."""

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return x * torch.sigmoid(x * (TANH + TANH * 0.044715 * x * x))


def _has_hooks(part: nn.Module) -> bool:
    return any(getattr(part, place) for places in HOOKS.values() for place in places)

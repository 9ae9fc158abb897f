"""Attention within groups of tokens, with position bias: the plain reference.

Letters: B batch, H W map sides, C channels, G groups per image, T tokens per group, N heads, D head_dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.layers.gather import group_indices, place_indices
from maxvit.layers.partition import Axis, Size, pad, padded_size, partition, real_tokens, unpartition
from maxvit.layers.position_bias import position_bias


class GroupAttention(nn.Module):
    """Multi-head self-attention within the groups of one axis, on maps of any size.

    Where the map does not divide by `size` it is padded at the bottom and right, and no token attends to padding.

    Args:
        channels: C, a multiple of `head_dim`.
        axis: "block" or "grid", see `maxvit.layers.partition.partition`.
        size: Tokens of a group, (height, width).
        table_size: Table size of the relative position bias, see there.
        head_dim: D.
        dialect: Kind of position bias.
        out_channels: Out channels of what comes out; None: C.
    """

    def __init__(
        self,
        channels: int,
        axis: Axis,
        size: Size,
        table_size: Size,
        head_dim: int = 32,
        dialect: Dialect = OFFICIAL,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.heads = channels // head_dim
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = position_bias(self.heads, size, table_size, dialect)
        self.proj = nn.Linear(channels, out_channels or channels)
        self.any_size = False  # compute with one graph for every map size, see MaxViT.set_any_size

    @property
    def size(self) -> Size:
        """Tokens of a group, (height, width)."""
        return self.bias.size

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, out_channels)."""
        if self.any_size:
            return self._any_size(x)
        return self.proj(attend(self.qkv(x), self.bias(), self.size, self.axis))

    def weights(self, x: Tensor) -> Tensor:
        """How much each token attends to each other of its group: (B, H, W, C) -> (B, G, N, T, T), rows sum to 1."""
        q, k, _ = _grouped(self.qkv(x), self.heads, self.size, self.axis).unbind(3)
        bias = _masked(self.bias(), (x.shape[1], x.shape[2]), self.size, self.axis, q)
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)

    def _any_size(self, x: Tensor) -> Tensor:
        """`forward` by index: always masked, and no decision depends on the sides."""
        hw = (x.shape[1], x.shape[2])
        places, real = group_indices(hw, self.size, self.axis, x.device)  # (G, T)
        qkv = self.qkv(x).flatten(1, 2).index_select(1, places.flatten())  # (B, G * T, 3C)
        qkv = qkv.unflatten(2, (3, self.heads, -1)).unflatten(1, (-1, places.shape[1]))  # (B, G, T, 3, N, D)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind()  # each (B, G, N, T, D)
        mask = self.bias().to(q.dtype).where(real[:, None, None, :], float("-inf"))  # (G, N, T, T)
        out = _attend(q, k, v, mask).transpose(2, 3).flatten(3).flatten(1, 2)  # (B, G * T, C)
        out = out.index_select(1, place_indices(hw, self.size, self.axis, x.device))  # (B, H * W, C)
        return self.proj(out.unflatten(1, hw))


def attend(qkv: Tensor, bias: Tensor, size: Size, axis: Axis) -> Tensor:
    """Group, attend, and put back: (B, H, W, 3C), with a bias (N, T, T) -> (B, H, W, C)."""
    hw = (qkv.shape[1], qkv.shape[2])
    q, k, v = _grouped(qkv, bias.shape[0], size, axis).unbind(3)  # each (B, G, N, T, D)
    out = _attend(q, k, v, _masked(bias, hw, size, axis, q))  # (B, G, N, T, D)
    out = out.transpose(2, 3).flatten(3)  # (B, G, T, C)
    out = unpartition(out, padded_size(hw, size), size, axis)
    return out[:, : hw[0], : hw[1]]


torch.fx.wrap("attend")  # it decides by sides, which symbols of FX have not: there it is one step


def _grouped(qkv: Tensor, heads: int, size: Size, axis: Axis) -> Tensor:
    """(B, H, W, 3C) -> (B, G, N, 3, T, D), so that three maps are gathered in one pass."""
    qkv = partition(pad(qkv, size), size, axis)  # (B, G, T, 3C)
    return qkv.unflatten(3, (3, heads, -1)).permute(0, 1, 4, 3, 2, 5)


def _masked(bias: Tensor, hw: Size, size: Size, axis: Axis, q: Tensor) -> Tensor:
    """A bias in q's type, (N, T, T); or (G, N, T, T) with -inf for keys that are padding."""
    bias, real = bias.to(q.dtype), real_tokens(hw, size, axis, q.device)
    return bias if real is None else bias.where(real[:, None, None, :], float("-inf"))


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Scaled dot-product attention on (B, G, N, T, D), folded to the four axes that fast kernels take.

    A bias (N, T, T) is the same for all groups, which are then folded into the batch; (G, N, T, T) is not, and the
    groups are folded into the heads.
    """
    batch_and_groups = q.shape[:2]
    if bias.ndim == 3:
        q, k, v = (t.flatten(0, 1) for t in (q, k, v))  # (B * G, N, T, D)
        return F.scaled_dot_product_attention(q, k, v, bias).unflatten(0, batch_and_groups)
    q, k, v = (t.flatten(1, 2) for t in (q, k, v))  # (B, G * N, T, D)
    return F.scaled_dot_product_attention(q, k, v, bias.flatten(0, 1)).unflatten(1, (-1, bias.shape[1]))

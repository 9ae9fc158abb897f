"""Attention within groups of tokens, with position bias: the plain reference, on maps of 1, 2 or 3 sides.

Letters: B batch, C channels, G groups per map, T tokens per group, N heads, D head_dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.layers.gather import group_indices, place_indices
from maxvit.layers.norm import qk_norm
from maxvit.layers.partition import Axis, Groups, Size, partition, real_tokens, unpartition
from maxvit.layers.position_bias import position_bias


class GroupAttention(nn.Module):
    """Multi-head self-attention within the groups of one axis, on maps of any size.

    Where groups reach beyond the map it is padded at the end of its sides, and no token attends to padding.

    Args:
        channels: C, a multiple of `head_dim`.
        axis: "block" or "grid", see `maxvit.layers.partition.Groups`.
        size: Tokens of a group along each side, such as (height, width).
        table_size: See `maxvit.layers.position_bias.RelativePositionBias`.
        head_dim: D.
        dialect: Kind of position bias, and whether queries and keys are normalised.
        out_channels: Channels of the output; None: C.
        dilation: Of a grid, see `maxvit.layers.partition.Groups`.
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
        dilation: Size | None = None,
    ) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.dilation = dilation
        self.heads = channels // head_dim
        self.qkv = nn.Linear(channels, 3 * channels)
        self.qk_norm = qk_norm(head_dim, dialect)
        self.bias = position_bias(self.heads, size, table_size, dialect)
        self.proj = nn.Linear(channels, out_channels or channels)
        self.any_size = False  # compute with one graph for every map size, see MaxViT.set_any_size

    @property
    def size(self) -> Size:
        """Tokens of a group along each side."""
        return self.bias.size

    @property
    def groups(self) -> Groups:
        """Which tokens attend together."""
        return Groups(self.size, self.axis, self.dilation)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, *sides, C) -> (B, *sides, out_channels).

        Args:
            x: The map.
            mask: Tokens that may be attended to, (B, *sides) bool; None: all. A token whose group has none gets zeros.
        """
        attended = self._by_index if self.any_size else self._by_shape
        out: Tensor = self.proj(attended(self._qkv(x), mask))  # Q K V are freed before it
        if mask is None:
            return out
        return out * (_has_key_by_index if self.any_size else _has_key)(mask, self.groups)

    def weights(self, x: Tensor) -> Tensor:
        """How much each token attends to each other of its group: (B, *sides, C) -> (B, G, N, T, T), rows sum to 1."""
        qkv = partition(self._qkv(x), self.groups).unflatten(3, (3, self.heads, -1))  # (B, G, T, 3, N, D)
        q, k, _ = qkv.permute(3, 0, 1, 4, 2, 5).unbind()  # each (B, G, N, T, D)
        bias = _masked(self.bias().to(q.dtype), _keys(x, None, self.groups))
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)

    def _qkv(self, x: Tensor) -> Tensor:
        """(B, *sides, C) -> (B, *sides, 3C)."""
        qkv: Tensor = self.qkv(x)
        return qkv if self.qk_norm is None else self.qk_norm(qkv)

    def _by_shape(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        return attend(qkv, self.bias(), self.groups, mask)

    def _by_index(self, qkv: Tensor, mask: Tensor | None) -> Tensor:
        """`attend` by index: always masked, and no decision depends on the sides."""
        sides = qkv.shape[1:-1]
        places, keys = group_indices(sides, self.groups, qkv.device)  # (G, T)
        if mask is not None:
            keys = keys & mask.flatten(1)[:, places]  # (B, G, T)
        if mask is not None or self.dilation is not None:
            keys = _open_empty_groups(keys)
        qkv = qkv.flatten(1, -2).index_select(1, places.flatten())  # (B, G * T, 3C)
        qkv = qkv.unflatten(1, (-1, places.shape[1]))  # (B, G, T, 3C)
        out = _attend(qkv, _masked(self.bias().to(qkv.dtype), keys)).flatten(1, 2)  # (B, G * T, C)
        out = out.index_select(1, place_indices(sides, self.groups, qkv.device))
        return out.unflatten(1, sides)  # (B, *sides, C)


def attend(qkv: Tensor, bias: Tensor, groups: Groups, mask: Tensor | None = None) -> Tensor:
    """Group, attend, and put back: (B, *sides, 3C), with a bias (N, T, T) -> (B, *sides, C)."""
    bias = _masked(bias.to(qkv.dtype), _keys(qkv, mask, groups))
    out = _attend(partition(qkv, groups), bias)  # (B, G, T, C)
    return unpartition(out, qkv.shape[1:-1], groups)


torch.fx.wrap("attend")  # it branches on sizes, which FX proxies cannot: wrapped, it is one node
torch.fx.wrap("_has_key")


def _keys(x: Tensor, mask: Tensor | None, groups: Groups) -> Tensor | None:
    """Which tokens of each group may be attended to: of the map, and of the mask. (G, T) or (B, G, T); None: all."""
    if mask is not None:
        return _open_empty_groups(partition(mask[..., None], groups)[..., 0])  # what is padded is False
    keys = real_tokens(x.shape[1:-1], groups, x.device)
    return keys if keys is None or groups.dilation is None else _open_empty_groups(keys)


def _open_empty_groups(keys: Tensor) -> Tensor:
    """Allow every key in groups that have none, as a softmax over nothing is NaN; what comes out there is discarded."""
    return keys | ~keys.any(-1, keepdim=True)


def _masked(bias: Tensor, keys: Tensor | None) -> Tensor:
    """A bias (N, T, T), or ([B,] G, N, T, T) with -inf at every other key."""
    return bias if keys is None else bias.where(keys[..., None, None, :], float("-inf"))


def _has_key(mask: Tensor, groups: Groups) -> Tensor:
    """Which tokens have a key that they may attend to: (B, *sides) -> (B, *sides, 1)."""
    keys = partition(mask[..., None], groups)  # (B, G, T, 1)
    return unpartition(keys.any(2, keepdim=True).expand_as(keys), mask.shape[1:], groups)


def _has_key_by_index(mask: Tensor, groups: Groups) -> Tensor:
    """The same, where no decision depends on the sides."""
    sides = mask.shape[1:]
    places, real = group_indices(sides, groups, mask.device)
    keys = real & mask.flatten(1)[:, places]  # (B, G, T)
    has = keys.any(-1, keepdim=True).expand_as(keys).flatten(1)
    return has.index_select(1, place_indices(sides, groups, mask.device)).unflatten(1, sides)[..., None]


def _attend(qkv: Tensor, bias: Tensor) -> Tensor:
    """Scaled dot-product attention within groups, folded to the four axes that fast kernels take.

    A bias (N, T, T) is the same for all groups, and (B, G, N, T, T) is one for each: groups are then folded into the
    batch. (G, N, T, T) is the same for the whole batch, and the groups are folded into the heads.

    Args:
        qkv: (B, G, T, 3C).
        bias: One of these three.

    Returns:
        (B, G, T, C).
    """
    batch, groups, tokens = qkv.shape[:3]
    heads = bias.shape[-3]
    if bias.ndim == 4:
        q, k, v = qkv.unflatten(3, (3, heads, -1)).permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind()  # (B, G * N, T, D)
        out = F.scaled_dot_product_attention(q, k, v, bias.flatten(0, 1)).unflatten(1, (-1, heads))
        return out.transpose(2, 3).flatten(3)
    q, k, v = qkv.flatten(0, 1).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind()  # (B * G, N, T, D)
    out = F.scaled_dot_product_attention(q, k, v, bias.flatten(0, 1) if bias.ndim == 5 else bias)
    return out.transpose(1, 2).reshape(batch, groups, tokens, heads * out.shape[3])

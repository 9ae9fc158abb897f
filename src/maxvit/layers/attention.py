"""Attention within groups of tokens, with relative position bias: the plain reference.

Letters: B batch, H W map sides, C channels, G groups per image, T tokens per group, N heads, D head_dim.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.layers.partition import Axis, Size, pad, padded_size, partition, real_tokens, take, unpartition


class RelativePositionBias(nn.Module):
    """A learned number per head and offset between two tokens (paper, Eq. 1; official: key minus query).

    Args:
        heads: N.
        size: Tokens of a group, (height, width).
        table_size: Offsets that are learned, (height, width). Where it is not 2 * size - 1, the table is resized
            bilinearly on every use, so that fine-tuning at another size trains the original table.
    """

    def __init__(self, heads: int, size: Size, table_size: Size) -> None:
        super().__init__()
        self.size = size
        self.table = nn.Parameter(torch.empty(heads, *table_size))
        nn.init.normal_(self.table, std=0.02)

    def forward(self) -> Tensor:
        """The bias of every (query, key) pair, (N, T, T)."""
        height, width = self.size
        table: Tensor = self.table  # (N, 2h-1, 2w-1), but for the resize
        if table.shape[1:] != (2 * height - 1, 2 * width - 1):
            wanted = (2 * height - 1, 2 * width - 1)
            table = F.interpolate(table[:, None], wanted, mode="bilinear", align_corners=False)[:, 0]
        rows = torch.arange(height, device=table.device)
        columns = torch.arange(width, device=table.device)
        dy = rows[None, :] - rows[:, None] + height - 1  # (query, key): key minus query, from 0
        dx = columns[None, :] - columns[:, None] + width - 1
        bias = table[:, dy[:, None, :, None], dx[None, :, None, :]]  # (N, h, w, h, w): query, then key
        return bias.flatten(3, 4).flatten(1, 2)  # (N, T, T)


class GroupAttention(nn.Module):
    """Multi-head self-attention within the groups of one axis, on maps of any size.

    Where the map does not divide by `size` it is padded at the bottom and right, and no token attends to padding.

    Args:
        channels: C, a multiple of `head_dim`.
        axis: "block" or "grid", see `maxvit.layers.partition.partition`.
        size: Tokens of a group, (height, width).
        table_size: Of the relative position bias, see there.
        head_dim: D.
    """

    def __init__(self, channels: int, axis: Axis, size: Size, table_size: Size, head_dim: int = 32) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.heads = channels // head_dim
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = RelativePositionBias(self.heads, size, table_size)
        self.proj = nn.Linear(channels, channels)
        self.always_mask = False  # also where nothing is padded: one graph for every size, see MaxViT.set_dynamic_size

    @property
    def size(self) -> Size:
        """Tokens of a group, (height, width)."""
        return self.bias.size

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        hw = (x.shape[1], x.shape[2])
        q, k, v = self._group(x).unbind(3)  # each (B, G, N, T, D)
        out = F.scaled_dot_product_attention(q, k, v, self._bias_and_mask(hw, q))  # scaled by D^-0.5
        out = out.transpose(2, 3).flatten(3)  # (B, G, T, C)
        out = unpartition(out, padded_size(hw, self.size), self.size, self.axis)
        return self.proj(take(out, hw) if self.always_mask else out[:, : hw[0], : hw[1]])

    def weights(self, x: Tensor) -> Tensor:
        """How much each token attends to each other of its group: (B, H, W, C) -> (B, G, N, T, T), rows sum to 1."""
        q, k, _ = self._group(x).unbind(3)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + self._bias_and_mask((x.shape[1], x.shape[2]), q)
        return scores.softmax(-1)

    def _group(self, x: Tensor) -> Tensor:
        """Project, then group: (B, H, W, C) -> (B, G, N, 3, T, D), so that three maps are gathered in one pass."""
        qkv = self.qkv(x)
        whole = padded_size((x.shape[1], x.shape[2]), self.size)
        qkv = take(qkv, whole) if self.always_mask else pad(qkv, self.size)
        qkv = partition(qkv, self.size, self.axis)  # (B, G, T, 3C)
        return qkv.unflatten(3, (3, self.heads, -1)).permute(0, 1, 4, 3, 2, 5)

    def _bias_and_mask(self, hw: Size, q: Tensor) -> Tensor:
        """(N, T, T), or (G, N, T, T) with -inf for keys that are padding."""
        bias = self.bias().to(q.dtype)
        if not self.always_mask and hw == padded_size(hw, self.size):
            return bias
        real = real_tokens(hw, self.size, self.axis, q.device)
        return bias.where(real[:, None, None, :], float("-inf"))

"""Multi-axis attention: block attention (local), then grid attention (global).

These modules build the MaxViT blocks, and stand on their own: (B, C, *sides) in and out, any map of 1, 2 or 3 sides, at
any layer of any network, as the paper proposes. In channels_last memory the permutes below are views, and nothing is
copied.
"""

import torch
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.layers.attention import GroupAttention
from maxvit.layers.checks import check_dim, check_map, sides_of
from maxvit.layers.drop_path import DropPath
from maxvit.layers.feedforward import feed_forward
from maxvit.layers.layer_scale import layer_scale, scaled
from maxvit.layers.norm import token_norm
from maxvit.layers.partition import Axis, Size


class AttentionLayer(nn.Module):
    """Pre-norm attention along one axis, then a feed-forward network, each with its residual.

    Arguments are those of `BlockAttention` and `GridAttention`; `size` is their window_size or grid_size.
    """

    def __init__(
        self,
        dim: int,
        axis: Axis,
        size: int | Size,
        table_size: Size | None,
        head_dim: int,
        expansion: int,
        drop_path: float,
        dialect: Dialect,
        dilation: int | Size | None = None,
    ) -> None:
        super().__init__()
        check_dim(dim, head_dim)
        size = sides_of("window size" if axis == "block" else "grid size", size)
        table_size = table_size or tuple(2 * side - 1 for side in size)
        apart = None if dilation is None else sides_of("dilation", dilation, len(size))
        self.dims = len(size)
        self.norm1 = token_norm(dim, dialect)
        self.attention = GroupAttention(dim, axis, size, table_size, head_dim, dialect, dilation=apart)
        self.scale1 = layer_scale(dim, dialect)
        self.norm2 = token_norm(dim, dialect)
        self.ffn = feed_forward(dim, expansion, dialect)
        self.scale2 = layer_scale(dim, dialect)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, *sides) -> (B, C, *sides). The result is a sum and not a view, as FSDP2's hooks need.

        Args:
            x: The map.
            mask: Tokens that may be attended to, (B, *sides) bool; None: all. Where a group has none, attention adds
                nothing.
        """
        check_map(x, self.dims, mask)
        tokens = self.norm1(x.movedim(1, -1))  # (B, *sides, C)
        tokens = scaled(self.scale1, self.attention(tokens) if mask is None else self.attention(tokens, mask))
        x = x + self.drop_path(tokens).movedim(-1, 1)
        tokens = scaled(self.scale2, self.ffn(self.norm2(x.movedim(1, -1))))  # (B, *sides, C)
        return x + self.drop_path(tokens).movedim(-1, 1)


class BlockAttention(AttentionLayer):
    """Block attention: every token attends to its window of neighbours (paper, "Multi-axis Attention").

    Args:
        dim: Channels, a multiple of `head_dim`.
        window_size: Side of the square window in tokens, or (height, width); (length,) for sequences (B, C, L) and
            (time, height, width) for volumes and video (B, C, T, H, W).
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward network.
        drop_path: Stochastic depth of both branches.
        table_size: Learned offsets of the relative position bias along each side; None: 2 * window_size - 1.
        dialect: Norms, GELU, feed-forward network, position bias, norms of queries and keys, the branches' scale.

    Raises:
        MaxViTError: If `dim` is not a multiple of `head_dim`, or `window_size` is below 1; in a call, if the map or the
            mask has other sides.
    """

    def __init__(
        self,
        dim: int,
        window_size: int | Size = 7,
        head_dim: int = 32,
        expansion: int = 4,
        drop_path: float = 0.0,
        table_size: Size | None = None,
        dialect: Dialect = OFFICIAL,
    ) -> None:
        super().__init__(dim, "block", window_size, table_size, head_dim, expansion, drop_path, dialect)


class GridAttention(AttentionLayer):
    """Grid attention: every token attends to a grid spread evenly over the whole map (paper, same section).

    Args:
        dim: Channels, a multiple of `head_dim`.
        grid_size: Tokens per side of the grid, or one number for each side, as `window_size` of `BlockAttention`.
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward network.
        drop_path: Stochastic depth of both branches.
        table_size: Learned offsets of the relative position bias along each side; None: 2 * grid_size - 1.
        dialect: See `BlockAttention`.
        dilation: Distance between the grid's tokens, one number or one for each side; grids then lie side by side.
            None: one grid spans the map.

    Raises:
        MaxViTError: See `BlockAttention`.
    """

    def __init__(
        self,
        dim: int,
        grid_size: int | Size = 7,
        head_dim: int = 32,
        expansion: int = 4,
        drop_path: float = 0.0,
        table_size: Size | None = None,
        dialect: Dialect = OFFICIAL,
        dilation: int | Size | None = None,
    ) -> None:
        super().__init__(dim, "grid", grid_size, table_size, head_dim, expansion, drop_path, dialect, dilation)


class MaxSA(nn.Module):
    """Multi-axis self-attention: `BlockAttention`, then `GridAttention` (paper, "Multi-axis Attention").

    Put it after any layer whose output is a map: it sees locally and globally at a cost linear in the map's size.

    Args:
        dim: Channels, a multiple of `head_dim`.
        window_size: See `BlockAttention`.
        grid_size: See `GridAttention`.
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward networks.
        drop_path: Stochastic depth of every branch.
        dialect: See `BlockAttention`.

    Raises:
        MaxViTError: See `BlockAttention`.
    """

    def __init__(
        self,
        dim: int,
        window_size: int | Size = 7,
        grid_size: int | Size = 7,
        head_dim: int = 32,
        expansion: int = 4,
        drop_path: float = 0.0,
        dialect: Dialect = OFFICIAL,
    ) -> None:
        super().__init__()
        grid_size = sides_of("grid size", grid_size, len(sides_of("window size", window_size)))
        self.block_attention = BlockAttention(dim, window_size, head_dim, expansion, drop_path, dialect=dialect)
        self.grid_attention = GridAttention(dim, grid_size, head_dim, expansion, drop_path, dialect=dialect)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, *sides) -> (B, C, *sides), with a mask as `AttentionLayer.forward` takes it."""
        return self.grid_attention(self.block_attention(x, mask), mask)


torch.fx.wrap("check_map")  # it branches on sizes, which FX proxies cannot

"""Multi-axis attention: block attention (local), then grid attention (global).

These modules build the MaxViT blocks, and stand on their own: NCHW in, NCHW out, any map size, at any layer of any
network, as the paper proposes. In channels_last memory the permutes below are views, and nothing is copied.
"""

from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.errors import MaxViTError
from maxvit.layers.attention import GroupAttention
from maxvit.layers.drop_path import DropPath
from maxvit.layers.feedforward import FeedForward
from maxvit.layers.layer_scale import layer_scale
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
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if head_dim < 1 or dim % head_dim:
            raise MaxViTError(f"dim is {dim}, which is not a multiple of head_dim {head_dim}: change one of them")
        if min(height, width) < 1:
            raise MaxViTError(f"the {axis} size is {size}; it takes whole numbers from 1 up")
        table_size = table_size or (2 * height - 1, 2 * width - 1)
        self.norm1 = nn.LayerNorm(dim, eps=dialect.layer_norm_eps)
        self.attention = GroupAttention(dim, axis, (height, width), table_size, head_dim, dialect)
        self.scale1 = layer_scale(dim, dialect)
        self.norm2 = nn.LayerNorm(dim, eps=dialect.layer_norm_eps)
        self.ffn = FeedForward(dim, expansion, dialect)
        self.scale2 = layer_scale(dim, dialect)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W). The result is a sum and not a view, as FSDP2's hooks need."""
        tokens = self.scale1(self.attention(self.norm1(x.permute(0, 2, 3, 1))))  # (B, H, W, C)
        x = x + self.drop_path(tokens).permute(0, 3, 1, 2)
        tokens = self.scale2(self.ffn(self.norm2(x.permute(0, 2, 3, 1))))  # (B, H, W, C)
        return x + self.drop_path(tokens).permute(0, 3, 1, 2)


class BlockAttention(AttentionLayer):
    """Block attention: every token attends to its window of neighbours (paper, "Multi-axis Attention").

    Args:
        dim: Channels, a multiple of `head_dim`.
        window_size: Side of the square window in tokens, or (height, width).
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward network.
        drop_path: Stochastic depth of both branches.
        table_size: Learned offsets of the relative position bias, (height, width); None: 2 * window_size - 1.
        dialect: Norms, GELU, position bias and the branches' scale.

    Raises:
        MaxViTError: If `dim` is not a multiple of `head_dim`, or `window_size` is below 1.
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
        grid_size: Tokens per side of the grid, or (height, width).
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward network.
        drop_path: Stochastic depth of both branches.
        table_size: Learned offsets of the relative position bias, (height, width); None: 2 * grid_size - 1.
        dialect: Norms, GELU, position bias and the branches' scale.

    Raises:
        MaxViTError: If `dim` is not a multiple of `head_dim`, or `grid_size` is below 1.
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
    ) -> None:
        super().__init__(dim, "grid", grid_size, table_size, head_dim, expansion, drop_path, dialect)


class MaxSA(nn.Module):
    """Multi-axis self-attention: `BlockAttention`, then `GridAttention` (paper, "Multi-axis Attention").

    Put it after any layer whose output is a map: it sees locally and globally at a cost linear in the pixels.

    Args:
        dim: Channels, a multiple of `head_dim`.
        window_size: See `BlockAttention`.
        grid_size: See `GridAttention`.
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward networks.
        drop_path: Stochastic depth of every branch.

    Raises:
        MaxViTError: If `dim` is not a multiple of `head_dim`, or a size is below 1.
    """

    def __init__(
        self,
        dim: int,
        window_size: int | Size = 7,
        grid_size: int | Size = 7,
        head_dim: int = 32,
        expansion: int = 4,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.block_attention = BlockAttention(dim, window_size, head_dim, expansion, drop_path)
        self.grid_attention = GridAttention(dim, grid_size, head_dim, expansion, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.grid_attention(self.block_attention(x))

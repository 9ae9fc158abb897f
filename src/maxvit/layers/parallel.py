"""Block and grid attention side by side, as timm has them."""

import torch
from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.layers.attention import GroupAttention
from maxvit.layers.checks import check_dim, check_map, sides_of
from maxvit.layers.drop_path import DropPath
from maxvit.layers.feedforward import feed_forward
from maxvit.layers.layer_scale import layer_scale, scaled
from maxvit.layers.norm import token_norm
from maxvit.layers.partition import Size


class ParallelAttention(nn.Module):
    """Pre-norm block and grid attention of the same tokens, each to half of the channels; then a feed-forward network.

    Args:
        dim: Channels, a multiple of `head_dim`.
        window_size: As `maxvit.BlockAttention` takes it.
        grid_size: As `maxvit.GridAttention` takes it.
        head_dim: Channels of one head.
        expansion: Expansion of the feed-forward network.
        drop_path: Stochastic depth of both branches.
        table_size: Learned offsets of both relative position biases along each side; None: as many as there are.
        dialect: See `maxvit.BlockAttention`.

    Raises:
        MaxViTError: See `maxvit.BlockAttention`.
    """

    def __init__(
        self,
        dim: int,
        window_size: int | Size = 7,
        grid_size: int | Size = 7,
        head_dim: int = 32,
        expansion: int = 4,
        drop_path: float = 0.0,
        table_size: Size | None = None,
        dialect: Dialect = OFFICIAL,
    ) -> None:
        super().__init__()
        check_dim(dim, head_dim)
        window, half = sides_of("window size", window_size), dim // 2
        grid = sides_of("grid size", grid_size, len(window))
        tables = [table_size or tuple(2 * side - 1 for side in size) for size in (window, grid)]
        self.dims = len(window)
        self.norm1 = token_norm(dim, dialect)
        self.block = GroupAttention(dim, "block", window, tables[0], head_dim, dialect, half)
        self.grid = GroupAttention(dim, "grid", grid, tables[1], head_dim, dialect, dim - half)
        self.scale1 = layer_scale(dim, dialect)
        self.norm2 = token_norm(dim, dialect)
        self.ffn = feed_forward(dim, expansion, dialect)
        self.scale2 = layer_scale(dim, dialect)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, C, *sides) -> (B, C, *sides), with a mask as `maxvit.BlockAttention` takes it."""
        check_map(x, self.dims, mask)
        tokens = self.norm1(x.movedim(1, -1))  # (B, *sides, C)
        tokens = torch.cat([self.block(tokens, mask), self.grid(tokens, mask)], -1)  # (B, *sides, C)
        tokens = scaled(self.scale1, tokens)
        x = x + self.drop_path(tokens).movedim(-1, 1)
        tokens = scaled(self.scale2, self.ffn(self.norm2(x.movedim(1, -1))))  # (B, *sides, C)
        return x + self.drop_path(tokens).movedim(-1, 1)


torch.fx.wrap("check_map")  # it branches on sizes, which FX proxies cannot

"""timm's block of parallel attention: two MBConvs, then block and grid attention side by side."""

import torch
from torch import Tensor, nn

from maxvit.config import MaxViTConfig
from maxvit.layers.attention import GroupAttention
from maxvit.layers.drop_path import DropPath
from maxvit.layers.feedforward import FeedForward
from maxvit.layers.layer_scale import layer_scale
from maxvit.layers.mbconv import MBConv


class ParallelAttention(nn.Module):
    """Pre-norm block and grid attention of the same tokens, each to half of the channels; then a feed-forward network.

    Args:
        config: Configuration of the network.
        dim: Channels, a multiple of the configuration's `head_dim`.
        drop_path: Stochastic depth of both branches.
    """

    def __init__(self, config: MaxViTConfig, dim: int, drop_path: float) -> None:
        super().__init__()
        dialect = config.dialect
        assert config.bias_table_size is not None  # the configuration has filled it in
        shared = (config.bias_table_size, config.head_dim, dialect)
        self.norm1 = nn.LayerNorm(dim, eps=dialect.layer_norm_eps)
        self.block = GroupAttention(dim, "block", config.window_size, *shared, out_channels=dim // 2)
        self.grid = GroupAttention(dim, "grid", config.grid_size, *shared, out_channels=dim - dim // 2)
        self.scale1 = layer_scale(dim, dialect)
        self.norm2 = nn.LayerNorm(dim, eps=dialect.layer_norm_eps)
        self.ffn = FeedForward(dim, config.expansion, dialect)
        self.scale2 = layer_scale(dim, dialect)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W). The result is a sum and not a view, as FSDP2's hooks need."""
        tokens = self.norm1(x.permute(0, 2, 3, 1))  # (B, H, W, C)
        tokens = self.scale1(torch.cat([self.block(tokens), self.grid(tokens)], -1))  # (B, H, W, C)
        x = x + self.drop_path(tokens).permute(0, 3, 1, 2)
        tokens = self.scale2(self.ffn(self.norm2(x.permute(0, 2, 3, 1))))  # (B, H, W, C)
        return x + self.drop_path(tokens).permute(0, 3, 1, 2)


class ParallelBlock(nn.Module):
    """Two MBConvs, `ParallelAttention` (timm's `ParallelMaxxVitBlock`). The four branches share one drop path rate."""

    def __init__(self, config: MaxViTConfig, in_channels: int, channels: int, stride: int, drop_path: float) -> None:
        super().__init__()
        shared = (config.expansion, config.se_ratio, drop_path, config.dialect)
        self.mbconv1 = MBConv(in_channels, channels, stride, *shared)
        self.mbconv2 = MBConv(channels, channels, 1, *shared)
        self.attention = ParallelAttention(config, channels, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, H', W'), sides halved (rounded up) if the block strides."""
        return self.attention(self.mbconv2(self.mbconv1(x)))

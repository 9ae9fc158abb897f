"""The norms of a dialect, on tokens (B, ..., C)."""

import torch
from torch import Tensor, nn

from maxvit.config import Dialect


def token_norm(channels: int, dialect: Dialect) -> nn.LayerNorm:
    """What stands before attention and before the feed-forward network.

    A layer norm, as its type says to the kernels, which take no other; or a batch or RMS norm.
    """
    if dialect.norm == "batch":
        return TokenBatchNorm(channels, eps=dialect.batch_norm_eps, momentum=dialect.batch_norm_momentum)  # type: ignore
    if dialect.norm == "rms":
        return nn.RMSNorm(channels, eps=dialect.layer_norm_eps)  # type: ignore[return-value]
    return nn.LayerNorm(channels, eps=dialect.layer_norm_eps)


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm over all tokens of all images."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, ..., C) -> (B, ..., C)."""
        return super().forward(x.flatten(0, -2)).view(x.shape)


class QKNorm(nn.Module):
    """RMS norm of each query and each key (arXiv 2010.04245): scores stay small however large the weights become."""

    def __init__(self, head_dim: int, eps: float) -> None:
        super().__init__()
        self.query, self.key = nn.RMSNorm(head_dim, eps=eps), nn.RMSNorm(head_dim, eps=eps)

    def forward(self, qkv: Tensor) -> Tensor:
        """(B, ..., 3C) -> (B, ..., 3C)."""
        q, k, v = qkv.chunk(3, -1)
        heads = (-1, self.query.normalized_shape[0])
        q, k = self.query(q.unflatten(-1, heads)).flatten(-2), self.key(k.unflatten(-1, heads)).flatten(-2)
        return torch.cat([q, k, v], -1)


def qk_norm(head_dim: int, dialect: Dialect) -> QKNorm | None:
    """What queries and keys go through in a dialect: a norm, or nothing."""
    return QKNorm(head_dim, dialect.layer_norm_eps) if dialect.qk_norm else None

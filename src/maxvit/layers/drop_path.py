"""Stochastic depth (arXiv 1603.09382), drawn per image."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a residual branch for whole images while training, and scale what is kept by 1 / (1 - rate).

    Args:
        rate: Probability to drop, 0 <= rate < 1.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        return _drop(x, self.rate if self.training else 0.0)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def _drop(x: Tensor, rate: float) -> Tensor:
    if rate == 0.0:
        return x
    keep = 1.0 - rate
    kept = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) < keep  # fp32 whatever x is
    return x * (kept / keep).to(x.dtype)


torch.fx.wrap("_drop")  # it counts sides, which FX proxies cannot: wrapped, it is one node, in evaluation too

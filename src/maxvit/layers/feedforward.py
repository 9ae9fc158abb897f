"""The feed-forward network that follows each attention."""

from torch import Tensor, nn

from maxvit.config import OFFICIAL, Dialect
from maxvit.layers.activation import gelu


class FeedForward(nn.Module):
    """Linear, GELU, linear (paper, "Attention"; official model, "FFN").

    Args:
        channels: C.
        expansion: Width of the hidden layer over C.
        dialect: Formula of GELU.
    """

    def __init__(self, channels: int, expansion: int = 4, dialect: Dialect = OFFICIAL) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, channels * expansion)
        self.act = gelu(dialect)
        self.project = nn.Linear(channels * expansion, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.project(self.act(self.expand(x)))

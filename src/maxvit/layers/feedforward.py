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


class GatedFeedForward(nn.Module):
    """Linear, GELU of one half times the other, linear (arXiv 2002.05202, "GEGLU").

    Args:
        channels: C.
        expansion: Width of the hidden layer over C.
        dialect: Formula of GELU.
    """

    def __init__(self, channels: int, expansion: int = 4, dialect: Dialect = OFFICIAL) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * channels * expansion)
        self.act = gelu(dialect)
        self.project = nn.Linear(channels * expansion, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        gate, x = self.expand(x).chunk(2, -1)
        return self.project(self.act(gate) * x)


def feed_forward(channels: int, expansion: int, dialect: Dialect) -> FeedForward | GatedFeedForward:
    """The kind that a dialect has. Both have `expand`, `act` and `project`."""
    kind = GatedFeedForward if dialect.feed_forward == "gated" else FeedForward
    return kind(channels, expansion, dialect)

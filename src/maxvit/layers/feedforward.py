"""The feed-forward network that follows each attention."""

from torch import Tensor, nn


class FeedForward(nn.Module):
    """Linear, GELU (tanh formula), linear (paper, "Attention"; official model, "FFN").

    Args:
        channels: C.
        expansion: Width of the hidden layer over C.
    """

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, channels * expansion)
        self.act = nn.GELU(approximate="tanh")
        self.project = nn.Linear(channels * expansion, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        return self.project(self.act(self.expand(x)))

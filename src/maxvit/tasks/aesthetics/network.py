"""A network of scores, as an exported file has it."""

from torch import Tensor, nn


class Shares(nn.Module):
    """A network that gives shares, for export: images (B, C, H, W) -> (B, scores), each row sums to 1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """What share of people would give each score."""
        return self.network(images).softmax(1)

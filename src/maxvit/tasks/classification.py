"""Image classification: the network's own head, cross-entropy, accuracy."""

import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.model import MaxViT


class Classification(nn.Module):
    """A network and how it is judged.

    Args:
        network: Anything from images (B, C, H, W) to logits (B, classes).
        label_smoothing: Share of each target that is spread over all classes, while training.
    """

    def __init__(self, network: MaxViT, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.network = network
        self.label_smoothing = label_smoothing

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss (smoothed while training, plain in evaluation) and accuracy, both scalars."""
        logits = self.network(images)
        smoothing = self.label_smoothing if self.training else 0.0
        return {
            "loss": F.cross_entropy(logits, labels, label_smoothing=smoothing),
            "accuracy": (logits.argmax(1) == labels).float().mean(),
        }

"""How far an image is from those that a network has learned from: a score for "none of these"."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from maxvit.layers.plain_head import pooled


class Novelty(nn.Module):
    """The distance to the nearest class, over the distance from which an image counts as none of them.

    It is Mahalanobis' distance of the pooled maps of all stages, with one covariance for all classes. It holds no
    parameters: `maxvit.tasks.classification.novelty` fits it once the network is trained.

    Args:
        channels: Sum over the stages.
        centres: Class means; 1 where an image has any number of classes.

    Reference: Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks" (2018), section 2.1. There each layer has a distance of its own, and a regression weighs them.
    """

    mean: Tensor
    whitening: Tensor
    centres: Tensor

    def __init__(self, channels: int, centres: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("whitening", torch.eye(channels))
        self.register_buffer("centres", torch.zeros(centres, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Pooled maps (B, channels) -> (B,) float32; above 1 it is none of the classes."""
        kind = features.device.type
        # squares overflow in 16 bits; and a graph that is traced shall not know of autocast
        exact = torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
        with exact:
            x = (features.float() - self.mean.float()) @ self.whitening.float()  # (B, channels)
            centres = self.centres.float()
            nearest = (centres.square().sum(1) - 2 * x @ centres.T).argmin(1)
            return (x - centres[nearest]).square().sum(1).sqrt()  # the difference of two squares would lose digits


def pooled_maps(maps: Sequence[Tensor]) -> Tensor:
    """The means of maps (B, C_i, *sides_i), side by side: (B, sum of C_i)."""
    return torch.cat([pooled(one, "avg") for one in maps], 1)

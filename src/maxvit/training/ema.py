"""The moving average of the weights, which is what a training run results in."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

N = TypeVar("N", bound=nn.Module)


class Average(Generic[N]):
    """The exponential moving average of all weights and statistics, as the official evaluation uses.

    Early on the decay is (1 + n) / (10 + n) after n updates, so that the random start is soon forgotten. Where the
    network is sharded, `network` is sharded alike, and each process averages its own part.

    Args:
        network: What is averaged.
        decay: Decay of each update.

    Attributes:
        network: The network with averaged weights.
        updates: How many there were.
    """

    def __init__(self, network: N, decay: float) -> None:
        self.network: N = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take one step towards the weights of `network`."""
        weight = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        averages, values = _local_tensors(self.network), _local_tensors(network)
        torch._foreach_lerp_(
            [a for a in averages if a.is_floating_point()], [v for v in values if v.is_floating_point()], weight
        )
        for average, value in zip(averages, values, strict=True):
            if not average.is_floating_point():  # the number of batches that a norm has seen
                average.copy_(value)
        self.updates += 1


def _local_tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and statistics; of sharded ones this process's part."""
    tensors = [*network.parameters(), *network.buffers()]
    return [t.to_local() if hasattr(t, "to_local") else t for t in tensors]

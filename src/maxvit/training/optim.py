"""AdamW as the official settings have it, its learning rate over time, and the average of the weights."""

from collections.abc import Sequence
from math import cos, pi

import torch
from torch import Tensor
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel

from maxvit.model import MaxViT


def make_optimizer(network: MaxViT, learning_rate: float, weight_decay: float) -> AdamW:
    """AdamW that does not decay biases, norms and relative position bias tables."""
    spared = network.no_weight_decay()
    groups = [
        {"params": [p for n, p in network.named_parameters() if n not in spared], "weight_decay": weight_decay},
        {"params": [p for n, p in network.named_parameters() if n in spared], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate, fused=True)


def learning_rate_factor(step: int, total: int, warmup: int, floor: float) -> float:
    """Share of the peak at a step: a line up over `warmup` steps, then a cosine down to `floor` at the last one."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup - 1))
    return floor + (1 - floor) * (1 + cos(pi * progress)) / 2


def average_weights(network: MaxViT, decay: float) -> AveragedModel:
    """The exponential moving average of all weights and statistics, as the official evaluation uses.

    Early on the decay is (1 + n) / (10 + n) after n updates, so that the random start is soon forgotten.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], n: Tensor | int) -> None:
        weight = 1 - min(decay, (1 + int(n)) / (10 + int(n)))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value.to(average.device), weight)
            else:  # the number of batches that a norm has seen
                average.copy_(value)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)

"""AdamW as the official settings have it, what is trained and how fast, and the learning rate over time."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal

import torch
from torch import nn
from torch.optim import AdamW

from maxvit.tasks.network import Network, backbone_of, parts_below_head

Schedule = Literal["cosine", "linear", "constant"]
SHAPES: dict[Schedule, Callable[[float], float]] = {  # from 1 at the start to 0 at the end
    "cosine": lambda progress: (1 + cos(pi * progress)) / 2,
    "linear": lambda progress: 1 - progress,
    "constant": lambda progress: 1.0,
}


def make_optimizer(network: Network, learning_rate: float, weight_decay: float, layer_decay: float = 1.0) -> AdamW:
    """AdamW that does not decay biases, norms and relative position bias tables.

    Args:
        network: Its parameters that require a gradient are trained.
        learning_rate: Learning rate of the head.
        weight_decay: Weight decay of all others.
        layer_decay: The learning rate of each block is that of the next one times this, down to the stem.
    """
    spared = network.no_weight_decay()
    depths = _depths(network) if layer_decay < 1 else {}
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            decay = 0.0 if name in spared else weight_decay
            groups.setdefault((depths.get(name, top), decay), []).append(parameter)
    return AdamW(
        [
            {"params": parameters, "weight_decay": decay, "lr": learning_rate, "scale": layer_decay ** (top - depth)}
            for (depth, decay), parameters in groups.items()
        ],
        lr=learning_rate,
        fused=True,
    )


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """The learning rate of the head; those of other layers follow."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["scale"]


def learning_rate_factor(step: int, total: int, warmup: int, floor: float, schedule: Schedule = "cosine") -> float:
    """Share of the peak at a step: a line up over `warmup` steps, then down to `floor` at the last one.

    Args:
        step: From 0.
        total: Steps in all.
        warmup: Steps of the line up.
        floor: Share at the last step.
        schedule: The way down; "constant": none.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup - 1))
    return floor + (1 - floor) * SHAPES[schedule](progress)


def freeze(network: Network, stages: int, linear_probe: bool) -> None:
    """Leave a part as it is: the stem and so many stages, or all but the classifier."""
    for part in _frozen(network, stages, linear_probe):
        part.requires_grad_(False)


def set_training_mode(network: Network, stages: int, linear_probe: bool, batch_norm: bool) -> None:
    """Training mode, but evaluation mode for what stays as it is, and for batch norms if they are frozen."""
    network.train()
    parts = _frozen(network, stages, linear_probe)
    if batch_norm:
        parts += [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for part in parts:
        part.eval()


def _frozen(network: Network, stages: int, linear_probe: bool) -> list[nn.Module]:
    if linear_probe:
        return parts_below_head(network)
    backbone = backbone_of(network)
    return [backbone.stem, *list(backbone.stages)[:stages]] if stages else []


def _depths(network: Network) -> dict[str, int]:
    """How many blocks are below each parameter, and the head above all."""
    backbone = backbone_of(network)
    blocks = [block for stage in backbone.stages for block in stage.children()]
    below = {id(p): number for number, part in enumerate([backbone.stem, *blocks]) for p in part.parameters()}
    return {name: below.get(id(p), len(blocks) + 1) for name, p in network.named_parameters()}


@torch.no_grad()
def clip_gradients(network: nn.Module, norm: float) -> torch.Tensor:
    """Scale the gradients down to a global norm.

    Returns:
        Their norm before, a scalar: infinite or NaN if one of them is.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    total = nn.utils.clip_grad_norm_(parameters, norm)
    return total.full_tensor() if hasattr(total, "full_tensor") else total  # of shards

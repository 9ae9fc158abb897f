"""A layer that kernels compute while it trains, and that computes by itself otherwise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def either(
    serves: Callable[[nn.Module, Tensor], bool],
    fast: Callable[[nn.Module, Tensor], Tensor],
    layer: nn.Module,
    x: Tensor,
) -> Tensor:
    """The forward that `accelerate` gives a layer: the kernels' while all of it trains, its class's otherwise.

    Args:
        serves: Whether the kernels take an input.
        fast: Their forward.
        layer: It is unchanged, see `maxvit.kernels.known`.
        x: What it is called with.
    """
    trains = torch.is_grad_enabled() and len(x) > 0 and serves(layer, x)
    trains = trains and all(m.training for m in layer.modules()) and all(p.requires_grad for p in layer.parameters())
    result: Tensor = fast(layer, x) if trains else type(layer).forward(layer, x)
    return result

"""How far numbers are from their targets, in standard deviations, so that every output counts alike."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor


def standardised_loss(
    values: Tensor, targets: Tensor, deviation: Tensor, kind: Literal["huber", "mse"], delta: float
) -> Tensor:
    """The mean over images and outputs of the Huber loss or the squared error of (value - target) / deviation.

    Args:
        values: (B, outputs).
        targets: Likewise.
        deviation: (outputs,), above 0.
        kind: "huber": half the square up to `delta`, then a straight line; "mse": the square.
        delta: In standard deviations.

    Returns:
        ().
    """
    errors = (values - targets) / deviation
    zeros = errors.new_zeros(()).expand_as(errors)
    return F.huber_loss(errors, zeros, delta=delta) if kind == "huber" else F.mse_loss(errors, zeros)

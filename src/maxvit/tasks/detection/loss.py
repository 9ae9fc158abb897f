"""The loss of a detector: the sum of those of its parts."""

from collections.abc import Mapping

from torch import Tensor


def total(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parts, which are scalars, behind their sum, "loss"."""
    return {"loss": sum(losses.values(), next(iter(losses.values())).new_zeros(())), **losses}

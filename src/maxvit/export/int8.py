"""Numbers in 8 bits: inputs with 256 levels between two bounds, weights with 127 around zero.

Weights take 7 bits only: processors without dot products of bytes add two products of bytes in 16 bits, where two of 8
bits do not fit, and saturate silently.
"""

from typing import NamedTuple

import torch
from torch import Tensor

TOP = 63  # of a weight; 2 * 255 * 63 fits 16 bits


class Range(NamedTuple):
    """Between which bounds the inputs of a product lie; 0 is among them."""

    low: float
    high: float

    @property
    def step(self) -> float:
        """What one level is worth."""
        return max(self.high - self.low, 1e-8) / 255

    @property
    def zero(self) -> int:
        """The level of 0."""
        return round(-self.low / self.step)


def find_range(x: Tensor) -> Range:
    """Range of all values of a tensor."""
    low, high = x.aminmax()
    return Range(min(0.0, float(low)), max(0.0, float(high)))


def rounded(x: Tensor, inputs: Range) -> Tensor:
    """Inputs as the product sees them."""
    return torch.fake_quantize_per_tensor_affine(x, inputs.step, inputs.zero, 0, 255)


def quantize_weight(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(C, C_in) -> levels, int8, of the same shape, and what one level is worth in each row, (C,)."""
    steps = weight.abs().amax(1).clamp(min=1e-8) / TOP
    return (weight / steps[:, None]).round().to(torch.int8), steps

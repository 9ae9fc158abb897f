"""The error that a fused kernel may have: twice that of plain PyTorch in the same type, three times for gradients."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

LOW = [pytest.param(dtype, marks=pytest.mark.full) for dtype in (torch.bfloat16, torch.float16)]
TYPES = [torch.float32, *LOW]  # the strictest always; the network's tests have a low one too

FLOOR = {torch.float32: 2e-6, torch.bfloat16: 2**-9, torch.float16: 2**-12}  # half a unit in the last place, or sums


def check(
    ours: Callable[..., Tensor],
    plain: Callable[..., Tensor],
    inputs: Sequence[Tensor],
    dtype: torch.dtype,
    gradients: bool = True,
) -> None:
    """Compare the result, and the gradients of all inputs, with plain PyTorch in float64.

    Args:
        ours: Function of the inputs.
        plain: The same in PyTorch's operators, for inputs of any type.
        inputs: In float32.
        dtype: That both compute in.
        gradients: False for what only computes.
    """
    low = [x.to(dtype) for x in inputs]
    truth = _results(plain, [x.double() for x in low], gradients)
    others, found = _results(plain, low, gradients), _results(ours, low, gradients)
    assert found[0].dtype == dtype
    for i, (given, peer, exact) in enumerate(zip(found, others, truth, strict=True)):
        allowed = (3 if i else 2) * error(peer, exact) + FLOOR[dtype]
        assert error(given, exact) <= allowed, f"{'result' if i == 0 else f'gradient of input {i - 1}'}"


def error(given: Tensor, exact: Tensor) -> float:
    """Largest difference, of the largest number; where that is 0 by nature, of the inputs, which are about 1."""
    assert given.shape == exact.shape
    assert given.isfinite().all()
    largest = float(exact.abs().max())
    return float((given.double() - exact).abs().max()) / (max(largest, 0.1) if largest > 1e-9 else 1.0)


def _results(function: Callable[..., Tensor], inputs: Sequence[Tensor], gradients: bool) -> list[Tensor]:
    inputs = [x.detach().clone().requires_grad_(gradients) for x in inputs]
    out = function(*inputs)
    if not gradients:
        return [out]
    generator = torch.Generator(out.device).manual_seed(7)
    grad = torch.randn(out.shape, generator=generator, device=out.device).to(out.dtype)
    return [out.detach(), *torch.autograd.grad(out, inputs, grad)]

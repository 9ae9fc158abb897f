"""What ten shares say: a mean, a deviation, a sentence, a row of a table."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def means(shares: Tensor) -> Tensor:
    """The mean scores of (..., N) shares of the scores 1 to N: (...)."""
    return (shares * _scores(shares)).sum(-1)


def deviations(shares: Tensor) -> Tensor:
    """The standard deviations of the scores of (..., N) shares: (...)."""
    away = _scores(shares) - means(shares)[..., None]
    return (shares * away**2).sum(-1).sqrt()


def _scores(shares: Tensor) -> Tensor:
    return torch.arange(1, shares.shape[-1] + 1, dtype=shares.dtype, device=shares.device)


def short(shares: Tensor) -> str:
    """Mean and deviation of (N,) shares: "5.3 ± 1.2"."""
    return f"{float(means(shares)):.1f} ± {float(deviations(shares)):.1f}"


def plain(shares: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """The same as plain values, with all shares."""
    named = dict(zip(class_names, shares.tolist(), strict=True))
    return {"mean": float(means(shares)), "deviation": float(deviations(shares)), "shares": named}

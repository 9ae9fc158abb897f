"""What ten shares say: a mean, a deviation, a sentence, a row of a table."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.storage import write_atomically


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


def write_csv(answers: Iterable[tuple[str, Size, Tensor]], out: Path, class_names: Sequence[str]) -> None:
    """Write a row an image: image, mean, deviation and the share of each score.

    Raises:
        MaxViTError: If `out` is not a CSV file, or cannot be written.
    """
    if out.suffix.lower() != ".csv":
        raise MaxViTError(f"{out} is not a CSV file, and scores are written as one: choose a name that ends in .csv")

    def write(path: Path) -> None:
        with path.open("w", encoding="utf-8", errors="replace", newline="") as file:  # names may hold odd bytes
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["image", "mean", "deviation", *class_names])
            for name, _, shares in answers:
                values = [float(means(shares)), float(deviations(shares)), *shares.tolist()]
                rows.writerow([name, *(f"{value:.6g}" for value in values)])

    write_atomically(out, write)

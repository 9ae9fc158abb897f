"""Which squares of an image are hidden: drawn in training, fixed in evaluation. True is hidden."""

import numpy as np
import torch
from torch import Tensor

from maxvit.config import Size

UNITS = (32, 16, 8, 4)  # pixels of a side; each is a whole number of positions in the stem's map
ENOUGH = 6  # units on the shorter side: 32 pixels from 192 on (SimMIM's)


def unit_for(size: Size) -> int:
    """The largest unit of which the shorter side of an image has six; of smaller images, the smallest unit."""
    return next((unit for unit in UNITS if min(size) >= ENOUGH * unit), UNITS[-1])


def drawn_units(size: Size, unit: int, ratio: float) -> Tensor:
    """Random units of an image of `size`, (rows, columns) bool; draws from PyTorch's random numbers on the CPU."""
    rows, columns = grid(size, unit)
    return _chosen(torch.randperm(rows * columns), rows, columns, ratio)


def fixed_units(size: Size, unit: int, ratio: float) -> Tensor:
    """The same units for every image of a size, on every machine: (rows, columns) bool."""
    rows, columns = grid(size, unit)
    order = np.random.RandomState(0).permutation(rows * columns)  # NumPy promises its stream; others may change
    return _chosen(torch.from_numpy(order), rows, columns, ratio)


def grid(size: Size, unit: int) -> Size:
    """Rows and columns of units; those at the far edges may be cut off."""
    return -(-size[0] // unit), -(-size[1] // unit)


def enlarged(units: Tensor, side: int, size: Size) -> Tensor:
    """(B, rows, columns) -> (B, 1, H, W) of `size`, in which a unit has `side` positions."""
    wide = units.repeat_interleave(side, 1).repeat_interleave(side, 2)
    return wide[:, None, : size[0], : size[1]]


def _chosen(order: Tensor, rows: int, columns: int, ratio: float) -> Tensor:
    """The first of an order: at least one, and not all."""
    number = min(max(1, round(ratio * len(order))), len(order) - 1)
    hidden = torch.zeros(len(order), dtype=torch.bool)
    hidden[order[:number]] = True
    return hidden.reshape(rows, columns)

"""Which squares of an image are hidden: drawn in training, fixed in evaluation.

A unit is a square that is hidden or seen as a whole. What is hidden is said of cells of 4 pixels a side, of which every
unit has a whole number, so that nobody has to know how large units are. True is hidden.
"""

import numpy as np
import torch
from torch import Tensor

from maxvit.config import Size

UNITS = (32, 16, 8, 4)  # pixels of a side; the first is SimMIM's
CELL = 4
ENOUGH = 4  # units on the shorter side


def unit_for(size: Size) -> int:
    """The largest unit of which the shorter side of an image has four; of smaller images, the smallest unit."""
    return next((unit for unit in UNITS if min(size) >= ENOUGH * unit), UNITS[-1])


def drawn_cells(size: Size, unit: int, ratio: float) -> Tensor:
    """Random units of an image of `size`, (rows, columns) bool; draws from PyTorch's random numbers on the CPU."""
    rows, columns = _count(size, unit)
    return _cells(torch.randperm(rows * columns), size, unit, ratio)


def fixed_cells(size: Size, unit: int, ratio: float) -> Tensor:
    """The same units for every image of a size, on every machine: (rows, columns) bool."""
    rows, columns = _count(size, unit)
    order = np.random.RandomState(0).permutation(rows * columns)  # NumPy promises its stream; others may change
    return _cells(torch.from_numpy(order), size, unit, ratio)


def enlarged(cells: Tensor, side: int, size: Size) -> Tensor:
    """(B, rows, columns) -> (B, 1, H, W) of `size`, in which a cell has `side` positions."""
    return cells.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None, : size[0], : size[1]]


def _count(size: Size, side: int) -> Size:
    """Rows and columns of squares; those at the far edges may be cut off."""
    return -(-size[0] // side), -(-size[1] // side)


def _cells(order: Tensor, size: Size, unit: int, ratio: float) -> Tensor:
    """The cells of the first units of an order: at least one unit, and not all."""
    number = min(max(1, round(ratio * len(order))), len(order) - 1)
    hidden = torch.zeros(len(order), dtype=torch.bool)
    hidden[order[:number]] = True
    return enlarged(hidden.reshape(1, *_count(size, unit)), unit // CELL, _count(size, CELL))[0, 0]

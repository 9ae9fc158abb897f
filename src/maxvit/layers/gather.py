"""The groups of attention by index instead of by shape: one graph for every map size, padded or not.

What `partition`, `pad` and a slice do with shapes, which a graph fixes, is done here with index arithmetic on the
sides, which may then stay symbols (`torch.export`, ONNX).
"""

import torch
from torch import Tensor

from maxvit.layers.partition import Axis, Size, padded_size


def group_indices(hw: Size, size: Size, axis: Axis, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each group's tokens are on a map of `hw`.

    Returns:
        (G, T) int64, positions on the flattened map, those of padding anywhere on it; and (G, T) bool, which are real.
    """
    (p, q), (height, width) = size, padded_size(hw, size)
    down, along = height // p, width // q  # groups
    group_row, group_column = _divmod(torch.arange(down * along, device=device)[:, None], along)
    token_row, token_column = _divmod(torch.arange(p * q, device=device)[None, :], q)
    if axis == "block":
        row, column = group_row * p + token_row, group_column * q + token_column
    else:
        row, column = token_row * down + group_row, token_column * along + group_column
    real = (row < hw[0]) & (column < hw[1])
    return row.clamp(max=hw[0] - 1) * hw[1] + column.clamp(max=hw[1] - 1), real


def place_indices(hw: Size, size: Size, axis: Axis, device: torch.device) -> Tensor:
    """The way back: for each position of the flattened map, where it is among all groups' tokens, (H * W) int64."""
    (p, q), (height, width) = size, padded_size(hw, size)
    down, along = height // p, width // q
    row, column = _divmod(torch.arange(hw[0] * hw[1], device=device), hw[1])
    if axis == "block":
        (group_row, token_row), (group_column, token_column) = _divmod(row, p), _divmod(column, q)
    else:
        (token_row, group_row), (token_column, group_column) = _divmod(row, down), _divmod(column, along)
    return (group_row * along + group_column) * (p * q) + token_row * q + token_column


def _divmod(numbers: Tensor, divisor: int) -> tuple[Tensor, Tensor]:
    """(quotient, remainder), in operations that ONNX takes with a divisor that is a symbol."""
    quotient = numbers // divisor
    return quotient, numbers - quotient * divisor

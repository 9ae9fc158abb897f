"""Rows of a map held whole in a tile: what lets a layer norm, and all that follows it, happen in one kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor

WIDEST = 256  # channels of a row that a tile holds; predicted from the size of the chip's memory, not measured
TILE_BYTES = 2**16  # of a tile's rows, so that two of them or one and its weights fit beside each other


def fit(x: Tensor) -> bool:
    """Whether the rows (..., C) fit into a tile."""
    return x.shape[-1] <= WIDEST


def tile(x: Tensor) -> dict[str, int]:
    """How many rows (..., C) a tile holds, and its width, a power of two: constants of a kernel."""
    width = max(16, triton.next_power_of_2(x.shape[-1]))
    return {"BLOCK_M": min(128, TILE_BYTES // (width * x.element_size())), "BLOCK_C": width}


def warps(block_m: int, block_c: int) -> int:
    """For sums [block_m, block_c] in registers: 128 a thread at the most."""
    return 8 if block_m * block_c > 128 * 128 else 4


def plain_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm in PyTorch: the result in x's type, the mean and the inverse deviation."""
    normed, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], gamma, beta, epsilon)
    return normed.to(x.dtype), mean, inverse


@triton.jit
def normed_rows(x, gamma, beta, row, rows, epsilon, C: tl.constexpr, BLOCK_C: tl.constexpr):
    """Layer norm of some rows of a map (rows, C), rounded to its type: [BLOCK_M, BLOCK_C], zero beyond C."""
    c = tl.arange(0, BLOCK_C)
    there = (row < rows)[:, None] & (c < C)[None, :]
    values = tl.load(x + row[:, None] * C + c[None, :], mask=there, other=0.0).to(tl.float32)
    centred = tl.where(there, values - (tl.sum(values, 1) / C)[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(centred * centred, 1) / C + epsilon)
    scale = tl.load(gamma + c, mask=c < C, other=0.0).to(tl.float32)
    shift = tl.load(beta + c, mask=c < C, other=0.0).to(tl.float32)
    return (centred * inverse[:, None] * scale[None, :] + shift[None, :]).to(x.dtype.element_ty)

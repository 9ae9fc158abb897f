"""A layer norm by itself, for rows that are too wide for the norm to be part of the kernel that follows."""

import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.rows import normed_rows

ELEMENTS = 2048  # of a tile: 16 a thread, so that many programs are there to wait for memory
WARPS = 4


def layer_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """Layer norm of the rows of a map, whose parameters may be of another type. No gradients.

    Args:
        x: (..., C), dense; float32, bfloat16 or float16.
        gamma: Scale, (C,).
        beta: Shift, (C,).
        epsilon: What is added to the variance.

    Returns:
        (..., C), of x's type.
    """
    x, out = x.contiguous(), x.new_empty(x.shape)
    rows, width = x.shape[:-1].numel(), triton.next_power_of_2(x.shape[-1])
    block = max(1, ELEMENTS // width)
    if rows:
        _layer_norm[triton.cdiv(rows, block),](
            x,
            gamma,
            beta,
            out,
            rows,
            epsilon,
            C=x.shape[-1],
            BLOCK_M=block,
            BLOCK_C=width,
            num_warps=WARPS,
        )
    return out


@triton.jit
def _layer_norm(x, gamma, beta, out, rows, epsilon, C: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr):
    first, row, c = tl.program_id(0).to(tl.int64) * BLOCK_M, tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_C)
    rows -= first.to(tl.int32)
    normed = normed_rows(x + first * C, gamma, beta, row, rows, epsilon, C, BLOCK_C)  # [BLOCK_M, BLOCK_C]
    there = (row < rows)[:, None] & (c < C)[None, :]
    tl.store(out + first * C + row[:, None] * C + c[None, :], normed, mask=there)

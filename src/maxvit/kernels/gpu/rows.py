"""Rows of a map held whole in a tile: what lets a layer norm, and all that follows it, happen in one kernel."""

import torch
import triton
import triton.language as tl
from torch import Tensor

ELEMENTS = {2: 2**14, 4: 2**12}  # of a tile, by the bytes of a number: what fits into the registers of 8 warps
WARPS = 8

# Channels up to which a layer is one kernel, as benchmarks/gpu_predict.py predicts, and not as measured. Wider rows
# take a norm, and products by the vendor's library or by `product.py`.
NORMED_LINEAR = 128
FEED_FORWARD = 128
VENDOR = 192  # channels from which a linear layer with GELU after it is the vendor's product
WIDEST_BYTES = 512  # of a row in any kernel that holds it whole: the chip's memory has no room for more


def fit(x: Tensor, widest: int) -> bool:
    """Whether the rows (..., C) have so few channels, and fit into a tile."""
    return x.shape[-1] <= widest and x.shape[-1] * x.element_size() <= WIDEST_BYTES


def tile(x: Tensor) -> dict[str, int]:
    """How many rows (..., C) a tile holds, and its width, a power of two: constants of a kernel."""
    width = max(16, triton.next_power_of_2(x.shape[-1]))
    return {"BLOCK_M": max(16, min(128, ELEMENTS[x.element_size()] // width)), "BLOCK_C": width}


def plain_norm(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Layer norm in PyTorch, whose operator takes one type on a GPU: the result, the mean, the inverse deviation."""
    normed, mean, inverse = torch.native_layer_norm(x, x.shape[-1:], gamma.to(x.dtype), beta.to(x.dtype), epsilon)
    return normed, mean, inverse


def plain_norm_gradient(
    grad: Tensor, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, inverse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `plain_norm`'s x, gamma and beta, each in its own type."""
    of_x, of_gamma, of_beta = torch.ops.aten.native_layer_norm_backward(
        grad, x, x.shape[-1:], mean, inverse, gamma.to(x.dtype), beta.to(x.dtype), [True, True, True]
    )
    return of_x, of_gamma.to(gamma.dtype), of_beta.to(beta.dtype)


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

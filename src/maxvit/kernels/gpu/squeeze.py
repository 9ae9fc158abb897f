"""Squeeze-and-excite for inference: from shares of the mean to the scale of each channel, in two short kernels.

One kernel would read all weights once for every few images, which takes longer where there are many channels.

Letters: B images, P parts of a map, C channels of the hidden map, S squeezed channels.
"""

import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.support import operator, precision

IMAGES = 16  # of a tile, the least that tensor cores multiply
SQUEEZED, CHANNELS = 16, 64  # of a tile of the first and of the second kernel
SHARES = 1024  # of an image that are read at once


@operator("maxvit::excited")
def excited(shares: Tensor, reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor) -> Tensor:
    """sigmoid(expand(silu(reduce(the sum of all shares)))). No gradients.

    Args:
        shares: What the parts of a map give to its mean, (B, P, C) in float32.
        reduce: (S, C), float32, bfloat16 or float16.
        reduce_bias: (S,).
        expand: (C, S), of the same type.
        expand_bias: (C,).

    Returns:
        (B, C), of the weights' type.
    """
    (images, parts, channels), squeezed = shares.shape, len(reduce)
    out, inner = _shape(shares, reduce, reduce_bias, expand, expand_bias), reduce.new_empty(images, squeezed)
    block = min(8, triton.next_power_of_2(parts))
    if images:
        tiles = triton.cdiv(images, IMAGES)
        _squeeze[tiles, triton.cdiv(squeezed, SQUEEZED)](
            shares,
            reduce.contiguous(),
            reduce_bias,
            inner,
            images,
            parts,
            C=channels,
            S=squeezed,
            IMAGES=IMAGES,
            PARTS=block,
            BLOCK_C=SHARES // block,
            BLOCK_S=SQUEEZED,
            PRECISION=precision(reduce),
            num_warps=8,
        )
        _excite[tiles, triton.cdiv(channels, CHANNELS)](
            inner,
            expand.contiguous(),
            expand_bias,
            out,
            images,
            C=channels,
            S=squeezed,
            IMAGES=IMAGES,
            BLOCK_C=CHANNELS,
            BLOCK_S=max(16, triton.next_power_of_2(squeezed)),
            PRECISION=precision(reduce),
            num_warps=4,
        )
    return out


@triton.jit
def _squeeze(
    shares,
    weight,
    bias,
    out,
    images,
    parts,
    C: tl.constexpr,
    S: tl.constexpr,
    IMAGES: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
    PRECISION: tl.constexpr,
):
    image, s = tl.program_id(0) * IMAGES + tl.arange(0, IMAGES), tl.program_id(1) * BLOCK_S + tl.arange(0, BLOCK_S)
    sums = tl.zeros([IMAGES, BLOCK_S], tl.float32)
    for start in range(0, C, BLOCK_C):
        c, mean = start + tl.arange(0, BLOCK_C), tl.zeros([IMAGES, BLOCK_C], tl.float32)
        for first in range(0, parts, PARTS):
            part = first + tl.arange(0, PARTS)
            at = (image[:, None].to(tl.int64) * parts + part[None, :])[:, :, None] * C + c[None, None, :]
            real = ((image < images)[:, None] & (part < parts)[None, :])[:, :, None] & (c < C)[None, None, :]
            mean += tl.sum(tl.load(shares + at, mask=real, other=0.0), 1)
        mask = (c < C)[:, None] & (s < S)[None, :]
        w = tl.load(weight + s[None, :] * C + c[:, None], mask=mask, other=0.0)  # [BLOCK_C, BLOCK_S]
        sums = tl.dot(mean.to(weight.dtype.element_ty), w, sums, input_precision=PRECISION)
    sums += tl.load(bias + s, mask=s < S, other=0.0).to(tl.float32)[None, :]
    sums *= tl.sigmoid(sums)
    there = (image < images)[:, None] & (s < S)[None, :]
    tl.store(out + image[:, None] * S + s[None, :], sums.to(out.dtype.element_ty), mask=there)


@triton.jit
def _excite(
    squeezed,
    weight,
    bias,
    out,
    images,
    C: tl.constexpr,
    S: tl.constexpr,
    IMAGES: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_S: tl.constexpr,
    PRECISION: tl.constexpr,
):
    image, c = tl.program_id(0) * IMAGES + tl.arange(0, IMAGES), tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    s = tl.arange(0, BLOCK_S)
    there = (image < images)[:, None] & (s < S)[None, :]
    a = tl.load(squeezed + image[:, None] * S + s[None, :], mask=there, other=0.0)  # [IMAGES, BLOCK_S]
    mask = (s < S)[:, None] & (c < C)[None, :]
    w = tl.load(weight + c[None, :] * S + s[:, None], mask=mask, other=0.0)  # [BLOCK_S, BLOCK_C]
    sums = tl.dot(a, w, input_precision=PRECISION)
    sums += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    there = (image < images)[:, None] & (c < C)[None, :]
    tl.store(out + image[:, None] * C + c[None, :], tl.sigmoid(sums).to(out.dtype.element_ty), mask=there)


@excited.register_fake
def _shape(shares: Tensor, reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor) -> Tensor:
    return reduce.new_empty(shares.shape[0], shares.shape[2])

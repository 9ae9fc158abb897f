"""The core of group attention for inference, where `FEWEST` to `MOST` tokens form a group and groups fill the map.

It computes what `attention.py` does with less arithmetic. A program goes from group to group by their first pixels:
tokens lie at the same offsets in all of them. Keys come in one piece or two, 128 + 16 for 144 tokens, where a power of
two would be 256. Exponentials are of base 2, which the chip has; the factor is in the scale and in the bias. Nothing is
kept for a backward.
"""

from collections.abc import Sequence
from math import e, log2

import triton
import triton.language as tl
from torch import Tensor

from maxvit.kernels.gpu.attention import attend, check_map
from maxvit.kernels.gpu.support import operator, precision
from maxvit.layers.attention import GroupAttention

FEWEST, MOST = 33, 256  # tokens of a group: of fewer, `attention.py` puts several into a tile
ROWS = 64  # queries of a tile
REGISTERS = 168  # of a thread, where it takes two of the widest pieces: three programs then fit on a multiprocessor
WIDEST_PIECE = 128  # keys at once: what fits into the registers with their scores
HEADS = (16, 32, 64)  # channels of a head
PROGRAMS = 8192  # at least, where there are as many groups
LOG2_E = log2(e)


def attend_fixed(part: GroupAttention, bias: Tensor | None, qkv: Tensor) -> Tensor:
    """The attention of a layer between its two projections, with what `padded_bias` made of the layer's bias.

    Args:
        part: Its size and axis are taken; and its bias, where this kernel does not serve.
        bias: See `padded_bias`.
        qkv: (B, H, W, 3C), dense.

    Returns:
        (B, H, W, C), of the same type.
    """
    if (
        bias is None
        or qkv.element_size() != 2
        or any(side % s for side, s in zip(qkv.shape[1:3], part.size, strict=True))
    ):
        return attend(part, qkv)
    out: Tensor = group_attention_fixed(qkv, bias, part.size, part.axis)
    return out


def padded_bias(part: GroupAttention) -> Tensor | None:
    """A layer's bias as the kernel reads it, (N, query tiles, key pieces); None where the kernel does not serve."""
    bias = part.bias().detach()
    tokens, dim = bias.shape[1], part.qkv.in_features // bias.shape[0]
    return padded(bias) if FEWEST <= tokens <= MOST and dim in HEADS else None


def padded(bias: Tensor) -> Tensor:
    """(N, T, T) times the logarithm of e, with minus infinity where there is no key and 0 where there is no query."""
    heads, tokens, _ = bias.shape
    out = bias.new_zeros(heads, -(-tokens // ROWS) * ROWS, sum(pieces(tokens)))
    out[:, :, tokens:] = float("-inf")
    out[:, :tokens, :tokens] = bias * LOG2_E
    return out


def pieces(tokens: int) -> tuple[int, int]:
    """Powers of two that hold the keys: one, or two where those are fewer or one is too large; the second may be 0."""
    whole = triton.next_power_of_2(tokens)
    rest = triton.next_power_of_2(max(16, tokens - whole // 2))
    return (whole // 2, rest) if whole // 2 + rest < whole or whole > WIDEST_PIECE else (whole, 0)


@operator("maxvit::group_attention_fixed")
def group_attention_fixed(qkv: Tensor, bias: Tensor, size: Sequence[int], axis: str) -> Tensor:
    """Attention within the groups of a map that they fill. No gradients.

    Args:
        qkv: (B, H, W, 3C), dense; H and W are multiples of the size.
        bias: What `padded` makes of the bias of the positions.
        size: Tokens of a group, (height, width).
        axis: "block" or "grid".

    Returns:
        (B, H, W, C).
    """
    check_map(qkv)
    qkv, out = qkv.contiguous(), _shape(qkv, bias, size, axis)
    (batch, height, width, channels), heads, (p, q) = qkv.shape, len(bias), size
    down, along = height // p, width // q
    groups, chunks = batch * down * along, bias.shape[1] // ROWS
    first, second = pieces(p * q)
    # Two wide pieces leave no room for those of the next group, nor for a bias that is kept from group to group.
    wide = second == WIDEST_PIECE
    each = 1 if wide else max(1, groups * heads * chunks // PROGRAMS)
    dim = channels // 3 // heads
    if qkv.numel():
        _attend[triton.cdiv(groups, each), heads, chunks](
            qkv,
            bias,
            out,
            groups,
            down,
            along,
            height * width,
            width,
            each,
            N=heads,
            D=dim,
            T=p * q,
            COLUMNS=q,
            GRID=axis == "grid",
            ROWS=ROWS,
            FIRST=first,
            SECOND=second,
            SCALE=dim**-0.5 * LOG2_E,
            PRECISION=precision(qkv),
            num_warps=4,
            num_stages=1 if wide else 2,
            maxnreg=REGISTERS if wide else None,
        )
    return out


@triton.jit
def _attend(
    qkv,
    bias,
    out,
    groups,
    down,
    along,
    pixels,
    width,
    each,
    N: tl.constexpr,
    D: tl.constexpr,
    T: tl.constexpr,
    COLUMNS: tl.constexpr,
    GRID: tl.constexpr,
    ROWS: tl.constexpr,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    SCALE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    head, feature = tl.program_id(1), tl.arange(0, D)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    query, real = _offset(row, down, along, width, COLUMNS, GRID)[:, None], (row < T)[:, None]
    position = bias + (head * (ROWS * tl.num_programs(2)) + row[:, None]) * (FIRST + SECOND)
    begin = tl.program_id(0) * each
    for group in range(begin, min(begin + each, groups)):
        image, local = group // (down * along), group % (down * along)
        if GRID:
            first = (local // along) * width + local % along
        else:
            first = (local // along) * (T // COLUMNS) * width + (local % along) * COLUMNS
        pixel = image.to(tl.int64) * pixels + first
        maps = qkv + pixel * (3 * N * D) + head * D
        q = tl.load(maps + query * (3 * N * D) + feature[None, :], mask=real, other=0.0)  # [ROWS, D]
        sums = tl.zeros([ROWS, D], tl.float32)
        most, total = tl.zeros([ROWS], tl.float32), tl.zeros([ROWS], tl.float32)
        at = _offset(tl.arange(0, FIRST), down, along, width, COLUMNS, GRID)
        sums, most, total = _piece(q, maps, at, position, sums, most, total, 0, FIRST, N, D, T, SCALE, PRECISION)
        if SECOND > 0:
            at = _offset(FIRST + tl.arange(0, SECOND), down, along, width, COLUMNS, GRID)
            sums, most, total = _piece(
                q, maps, at, position, sums, most, total, FIRST, SECOND, N, D, T, SCALE, PRECISION
            )
        out_at = out + pixel * (N * D) + head * D + query * (N * D) + feature[None, :]
        tl.store(out_at, (sums * (1.0 / total)[:, None]).to(out.dtype.element_ty), mask=real)


@triton.jit
def _offset(token, down, along, width, COLUMNS: tl.constexpr, GRID: tl.constexpr):
    """How many pixels a token of a group lies behind the first."""
    if GRID:  # a group's tokens are spread over the map
        return (token // COLUMNS) * (down * width) + (token % COLUMNS) * along
    return (token // COLUMNS) * width + token % COLUMNS


@triton.jit
def _piece(
    q,
    maps,
    at,
    position,
    sums,
    most,
    total,
    START: tl.constexpr,
    SIZE: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
    T: tl.constexpr,
    SCALE: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Attend to a piece of the keys: the sums [ROWS, D], the largest exponents of 2 so far, and their powers' sums."""
    key, feature = START + tl.arange(0, SIZE), tl.arange(0, D)
    where, there = maps + at[:, None] * (3 * N * D) + N * D + feature[None, :], (key < T)[:, None]
    k = tl.load(where, mask=there, other=0.0)  # [SIZE, D]
    v = tl.load(where + N * D, mask=there, other=0.0)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * SCALE  # [ROWS, SIZE]
    scores += tl.load(position + key[None, :]).to(tl.float32)
    largest = tl.max(scores, 1)
    if START > 0:
        largest = tl.maximum(most, largest)
        kept = tl.exp2(most - largest)
        sums, total = sums * kept[:, None], total * kept
    shares = tl.exp2(scores - largest[:, None])
    sums = tl.dot(shares.to(v.dtype), v, sums, input_precision=PRECISION)
    return sums, largest, total + tl.sum(shares, 1)


@group_attention_fixed.register_fake
def _shape(qkv: Tensor, bias: Tensor, size: Sequence[int], axis: str) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)

"""The core of group attention: Q, K and V are read in place on the map, and no partition or score is in memory.

One tile holds the tokens of a group, or of several small groups, or a part of a large one. Block and grid attention
differ in where a token is, see `_pixels`, and in nothing else.

Letters as in `maxvit.layers.attention`: B batch, H W map sides, C channels, T tokens per group, N heads, D head_dim.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.kernels.gpu.support import operator, precision
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import padded_size

TILES = {2: 64, 4: 32}  # tokens, by the bytes of a number: what fits into the registers
PROGRAMS = {"forward": 2048, "backward": 512}  # that share the groups: several waves; and whose sums are kept
NEVER = tl.constexpr(-1e30)  # a score that softmax makes zero


def attend(part: GroupAttention, qkv: Tensor) -> Tensor:
    """The attention of a layer between its two projections.

    Args:
        part: Whose bias, size and axis are taken.
        qkv: (B, H, W, 3C) as `part.qkv` gives it, dense; float32, bfloat16 or float16.

    Returns:
        (B, H, W, C) as `part.proj` takes it, of the same type.
    """
    out: Tensor = group_attention(qkv, part.bias(), part.size, part.axis)[0]
    return out


def check_map(qkv: Tensor) -> None:
    """Refuse a map (B, H, W, 3C) whose images are too large for offsets of 32 bits."""
    if 2 * qkv.shape[1:].numel() >= 2**31:
        raise MaxViTError(f"a map of {tuple(qkv.shape[1:])} is too large for the Triton kernels: use backend='torch'")


@operator("maxvit::group_attention")
def group_attention(qkv: Tensor, bias: Tensor, size: Sequence[int], axis: str) -> tuple[Tensor, Tensor]:
    """Attention within the groups of a map.

    Args:
        qkv: (B, H, W, 3C), dense.
        bias: Bias of the positions, (N, T, T).
        size: Tokens of a group, (height, width).
        axis: "block" or "grid".

    Returns:
        (B, H, W, C), and each token's log of the sum of its exponentials, (B, H, W, N) in float32, for backward.
    """
    qkv, bias = qkv.contiguous(), bias.contiguous()
    out, log_sum = _shapes(qkv, bias, size, axis)
    plan = _Plan.of(qkv, bias, size, axis, "forward")
    if qkv.numel():
        _forward[plan.grid](
            qkv,
            bias,
            out,
            log_sum,
            *plan.runtime,
            **plan.constants,
            PRECISION=precision(qkv),
            num_warps=4,
            num_stages=2,
        )
    return out, log_sum


@operator("maxvit::group_attention_gradient")
def group_attention_gradient(
    qkv: Tensor, bias: Tensor, out: Tensor, log_sum: Tensor, grad: Tensor, size: Sequence[int], axis: str
) -> tuple[Tensor, Tensor]:
    """The gradients of `group_attention`'s qkv and bias, from that of its first result."""
    qkv, bias, grad = qkv.contiguous(), bias.contiguous(), grad.contiguous()
    plan = _Plan.of(qkv, bias, size, axis, "backward")
    # In a group of several tiles, each pair of tiles writes its own share.
    shares = qkv.new_empty(plan.chunks, *qkv.shape, dtype=qkv.dtype if plan.chunks == 1 else torch.float32)
    by_program = bias.new_empty(plan.grid[0], plan.constants["PACK"], *bias.shape, dtype=torch.float32)
    if qkv.numel():
        _backward[plan.grid](
            qkv,
            bias,
            out,
            log_sum,
            grad,
            shares,
            by_program,
            shares.stride(0),  # 64 bits where it needs them
            *plan.runtime,
            **plan.constants,
            PRECISION=precision(qkv),
            num_warps=8,
            num_stages=1,
        )
    of_qkv = shares[0] if plan.chunks == 1 else shares.sum(0)
    return of_qkv.to(qkv.dtype), by_program.sum((0, 1)).to(bias.dtype)


class _Plan(NamedTuple):
    """How the groups of a map are dealt out to programs."""

    grid: tuple[int, int, int]  # programs that share the groups, heads, tiles or pairs of tiles of a group
    chunks: int  # tiles that hold a group
    runtime: tuple[int, ...]  # groups of all images, down, along, height, width, packs of a program
    constants: dict[str, Any]

    @classmethod
    def of(cls, qkv: Tensor, bias: Tensor, size: Sequence[int], axis: str, way: str) -> "_Plan":
        check_map(qkv)
        (batch, height, width, channels), (heads, tokens, _) = qkv.shape, bias.shape
        dim, (p, q) = channels // 3 // heads, size
        padded = padded_size((height, width), (p, q))
        down, along = padded[0] // p, padded[1] // q
        most = TILES[qkv.element_size()]
        groups, chunks, pack = batch * down * along, -(-tokens // most), max(1, most // tokens)
        packs = -(-groups // pack)
        tiles = chunks if way == "forward" else chunks**2  # of queries, or of queries and keys
        each = max(1, -(-packs * heads * tiles // PROGRAMS[way]))
        constants = {"N": heads, "D": dim, "T": tokens, "COLUMNS": q, "GRID": axis == "grid", "PACK": pack}
        constants |= {"PADDED": padded != (height, width)}
        tile = min(most, max(16, triton.next_power_of_2(pack * tokens)))
        constants |= {"CHUNKS": chunks, "TILE": tile, "BLOCK_D": max(16, triton.next_power_of_2(dim))}
        grid = -(-packs // each), heads, tiles
        return cls(grid, chunks, (groups, down, along, height, width, each), constants)


@triton.jit
def _first_pixel(pack, down, along, height, width, PACK: tl.constexpr):
    """The first pixel of a pack's first image, of those of all images: 64 bits once, so that 32 do for the rest."""
    return (pack * PACK // (down * along)).to(tl.int64) * (height * width)


@triton.jit
def _pixels(
    pack,
    slot,
    groups,
    down,
    along,
    height,
    width,
    T: tl.constexpr,
    COLUMNS: tl.constexpr,
    GRID: tl.constexpr,
    PACK: tl.constexpr,
):
    """The pixel, from `_first_pixel` on, that each slot of a tile holds, and whether there is one."""
    group, token = pack * PACK + slot // T, slot % T
    image, local = group // (down * along), group % (down * along)
    if GRID:  # a group's tokens are spread over the map
        row, column = local // along + (token // COLUMNS) * down, local % along + (token % COLUMNS) * along
    else:
        row = (local // along) * (T // COLUMNS) + token // COLUMNS
        column = (local % along) * COLUMNS + token % COLUMNS
    real = (slot < PACK * T) & (group < groups) & (row < height) & (column < width)
    return ((image - pack * PACK // (down * along)) * height + row) * width + column, real


@triton.jit
def _position(bias, head, rows, columns, T: tl.constexpr, PACK: tl.constexpr):
    """The bias [rows, columns] of a tile; NEVER between tokens of different groups and where there are none."""
    row, column = rows[:, None], columns[None, :]
    own = (row // T == column // T) & (row < PACK * T) & (column < PACK * T)
    at = (head * T + row % T) * T + column % T
    return tl.where(own, tl.load(bias + at, mask=own, other=0.0).to(tl.float32), NEVER)


@triton.jit
def _forward(
    qkv,
    bias,
    out,
    log_sum,
    groups,
    down,
    along,
    height,
    width,
    each,
    N: tl.constexpr,
    D: tl.constexpr,
    T: tl.constexpr,
    COLUMNS: tl.constexpr,
    GRID: tl.constexpr,
    PACK: tl.constexpr,
    PADDED: tl.constexpr,
    CHUNKS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    first, head = tl.program_id(0) * each, tl.program_id(1)
    rows, feature = tl.program_id(2) * TILE + tl.arange(0, TILE), tl.arange(0, BLOCK_D)
    there = feature[None, :] < D
    position = _position(bias, head, rows, tl.arange(0, TILE), T, PACK)
    for pack in range(first, min(first + each, tl.cdiv(groups, PACK))):
        pixel, real = _pixels(pack, rows, groups, down, along, height, width, T, COLUMNS, GRID, PACK)
        start = _first_pixel(pack, down, along, height, width, PACK)
        maps = qkv + start * (3 * N * D) + head * D
        q = tl.load(
            maps + pixel[:, None] * (3 * N * D) + feature[None, :], mask=real[:, None] & there, other=0.0
        )  # [TILE, BLOCK_D]
        sums = tl.zeros([TILE, BLOCK_D], tl.float32)
        most, total = tl.full([TILE], NEVER, tl.float32), tl.zeros([TILE], tl.float32)
        for chunk in range(CHUNKS):
            columns = chunk * TILE + tl.arange(0, TILE)
            at, key = _pixels(pack, columns, groups, down, along, height, width, T, COLUMNS, GRID, PACK)
            k_at = maps + at[:, None] * (3 * N * D) + N * D + feature[None, :]
            k = tl.load(k_at, mask=key[:, None] & there, other=0.0)
            v = tl.load(k_at + N * D, mask=key[:, None] & there, other=0.0)
            if CHUNKS > 1:
                position = _position(bias, head, rows, columns, T, PACK)
            scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (D**-0.5) + position  # [TILE, TILE]
            if PADDED:  # a tile's own missing tokens are in `position`
                scores = tl.where(key[None, :], scores, NEVER)
            larger = tl.maximum(most, tl.max(scores, 1))
            shares = tl.exp(scores - larger[:, None])
            kept = tl.exp(most - larger)
            total = total * kept + tl.sum(shares, 1)
            sums = sums * kept[:, None] + tl.dot(shares.to(v.dtype), v, input_precision=PRECISION)
            most = larger
        out_at = out + start * (N * D) + head * D + pixel[:, None] * (N * D) + feature[None, :]
        tl.store(out_at, (sums / total[:, None]).to(out.dtype.element_ty), mask=real[:, None] & there)
        tl.store(log_sum + start * N + head + pixel * N, most + tl.log(total), mask=real)


@triton.jit
def _backward(
    qkv,
    bias,
    out,
    log_sum,
    grad,
    shares,
    by_program,
    share,
    groups,
    down,
    along,
    height,
    width,
    each,
    N: tl.constexpr,
    D: tl.constexpr,
    T: tl.constexpr,
    COLUMNS: tl.constexpr,
    GRID: tl.constexpr,
    PACK: tl.constexpr,
    PADDED: tl.constexpr,
    CHUNKS: tl.constexpr,
    TILE: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRECISION: tl.constexpr,
):
    first, head = tl.program_id(0) * each, tl.program_id(1)
    query_chunk, key_chunk = tl.program_id(2) // CHUNKS, tl.program_id(2) % CHUNKS
    rows, columns = query_chunk * TILE + tl.arange(0, TILE), key_chunk * TILE + tl.arange(0, TILE)
    feature = tl.arange(0, BLOCK_D)
    there = feature[None, :] < D
    position = _position(bias, head, rows, columns, T, PACK)
    of_position = tl.zeros([TILE, TILE], tl.float32)
    for pack in range(first, min(first + each, tl.cdiv(groups, PACK))):
        pixel, real = _pixels(pack, rows, groups, down, along, height, width, T, COLUMNS, GRID, PACK)
        at, key = _pixels(pack, columns, groups, down, along, height, width, T, COLUMNS, GRID, PACK)
        start = _first_pixel(pack, down, along, height, width, PACK)
        maps, results = start * (3 * N * D) + head * D, start * (N * D) + head * D
        q_at = pixel[:, None] * (3 * N * D) + feature[None, :]
        k_at, y_at = at[:, None] * (3 * N * D) + N * D + feature[None, :], pixel[:, None] * (N * D) + feature[None, :]
        query_mask, key_mask = real[:, None] & there, key[:, None] & there
        q = tl.load(qkv + maps + q_at, mask=query_mask, other=0.0)  # [TILE, BLOCK_D]
        k = tl.load(qkv + maps + k_at, mask=key_mask, other=0.0)
        v = tl.load(qkv + maps + k_at + N * D, mask=key_mask, other=0.0)
        y = tl.load(out + results + y_at, mask=query_mask, other=0.0)
        g = tl.load(grad + results + y_at, mask=query_mask, other=0.0)
        mean = tl.sum(y.to(tl.float32) * g.to(tl.float32), 1)  # of the scores' gradients, by the shares
        scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * (D**-0.5) + position  # [TILE, TILE]
        scores -= tl.load(log_sum + start * N + head + pixel * N, mask=real, other=-NEVER)[:, None]
        p = tl.exp(scores)
        if PADDED:
            p = tl.where(key[None, :], p, 0.0)
        of_v = tl.dot(tl.trans(p).to(g.dtype), g, input_precision=PRECISION)
        of_scores = p * (tl.dot(g, tl.trans(v), input_precision=PRECISION) - mean[:, None])
        of_position += of_scores
        rounded = of_scores.to(q.dtype)
        of_q = tl.dot(rounded, k, input_precision=PRECISION) * (D**-0.5)
        of_k = tl.dot(tl.trans(rounded), q, input_precision=PRECISION) * (D**-0.5)
        own, other = shares + maps + key_chunk * share, shares + maps + query_chunk * share
        tl.store(own + q_at, of_q.to(shares.dtype.element_ty), mask=query_mask)
        tl.store(other + k_at, of_k.to(shares.dtype.element_ty), mask=key_mask)
        tl.store(other + k_at + N * D, of_v.to(shares.dtype.element_ty), mask=key_mask)
    row, column = rows[:, None], columns[None, :]
    own_group = (row // T == column // T) & (row < PACK * T) & (column < PACK * T)
    to = ((tl.program_id(0) * PACK + row // T) * N + head).to(tl.int64) * (T * T) + (row % T) * T + column % T
    tl.store(by_program + to, of_position, mask=own_group)


@group_attention.register_fake
def _shapes(qkv: Tensor, bias: Tensor, size: Sequence[int], axis: str) -> tuple[Tensor, Tensor]:
    out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
    return out, qkv.new_empty(*qkv.shape[:3], bias.shape[0], dtype=torch.float32)


@group_attention_gradient.register_fake
def _gradient_shapes(
    qkv: Tensor, bias: Tensor, out: Tensor, log_sum: Tensor, grad: Tensor, size: Sequence[int], axis: str
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(qkv), torch.empty_like(bias)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    qkv, bias, ctx.size, ctx.axis = inputs
    ctx.save_for_backward(qkv, bias, *output)
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor, None, None]:
    of_qkv, of_bias = group_attention_gradient(*ctx.saved_tensors, grad, ctx.size, ctx.axis)
    return of_qkv, of_bias, None, None


group_attention.register_autograd(_differentiate, setup_context=_keep)

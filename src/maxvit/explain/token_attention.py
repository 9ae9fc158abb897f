"""What the token under a point of the image attends to, in image coordinates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.explain.capture import Look, look
from maxvit.explain.geometry import Cell, cell
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Axis, padded_size
from maxvit.tasks.network import Network


@dataclass(frozen=True, slots=True)
class TokenAttention:
    """Where one token looks in one attention layer; plain values, so `json.dumps(dataclasses.asdict(it))` works.

    Attributes:
        stage: From 1.
        block: Block of the stage, from 1.
        axis: "block" or "grid".
        height: Height of the layer's map, in tokens.
        width: Width of the layer's map, in tokens.
        values: `height` rows of `width` numbers: the attention that each token gets; it sums to 1 over the group, and
            is 0 outside.
        cells: The group's tokens on the image, row by row: the window, or the grid spread over the whole image.
        own: The cell of the token that asks.
    """

    stage: int
    block: int
    axis: Axis
    height: int
    width: int
    values: list[list[float]]
    cells: list[Cell]
    own: Cell


def attention_at(
    network: Network,
    image: Tensor,
    point: tuple[int, int],
    stage: int | None = None,
    block: int | None = None,
    axis: Axis | None = None,
    head: int | None = None,
) -> list[TokenAttention]:
    """What the token under a point attends to in every layer, or in some, in one forward.

    Args:
        network: It is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed; any size.
        point: (x, y) in pixels of this image, from the left and the top, from 0.
        stage: From 1; None: every one that the head sees.
        block: Block of the stage, from 1; None: every one.
        axis: "block" or "grid"; None: both.
        head: From 0; None: the mean over the heads.

    Returns:
        In the order of the network: block, then grid attention of every block.

    Raises:
        MaxViTError: If there is no such layer, head or point, or the attention cannot be seen.
    """
    check_point(point, image)
    wanted = {"stage": stage, "block": block, "axis": axis}
    layers = look(network, image).layers
    chosen = [
        seen
        for seen in layers
        if all(w in (None, is_) for w, is_ in zip(wanted.values(), (seen.stage, seen.block, seen.axis), strict=True))
    ]
    if not chosen:
        asked = ", ".join(f"{name} {value!r}" for name, value in wanted.items() if value is not None)
        depths = network.config.depths[: layers[-1].stage]
        raise MaxViTError(
            f"no attention layer has {asked}: the axes are 'block' and 'grid', and stages 1 to {len(depths)} have "
            f"{', '.join(map(str, depths))} blocks"
        )
    for seen in chosen:
        if head is not None and not 0 <= head < (heads := seen.attention.heads):
            raise MaxViTError(f"head is {head}; stage {seen.stage} has heads 0 to {heads - 1}, or None for their mean")
    return [_at(seen, image, point, head) for seen in chosen]


def check_point(point: tuple[int, int], image: Tensor) -> None:
    """Raises `MaxViTError` for a point (x, y) that is not on an image (C, H, W)."""
    height, width = image.shape[-2:]
    if not (0 <= point[0] < width and 0 <= point[1] < height):
        raise MaxViTError(
            f"the point ({point[0]}, {point[1]}) is outside: x goes from 0 to {width - 1} and y from 0 to "
            f"{height - 1}, in pixels of the preprocessed image"
        )


def _at(seen: Look, image: Tensor, point: tuple[int, int], head: int | None) -> TokenAttention:
    stride = 2 ** (seen.stage + 1)
    row, column = int(point[1]) // stride, int(point[0]) // stride
    (height, width), attention = seen.hw, seen.attention
    rows = _members(row, height, attention.size[0], attention.axis)
    columns = _members(column, width, attention.size[1], attention.axis)
    with torch.no_grad():
        weights = group_weights(attention, seen.tokens, rows, columns)[:, rows.index(row), columns.index(column)]
    chosen = (weights.mean(0) if head is None else weights[head]).tolist()
    values = [[0.0] * width for _ in range(height)]
    for i, line in zip(rows, chosen, strict=True):
        for j, weight in zip(columns, line, strict=True):
            values[i][j] = weight
    hw = (image.shape[1], image.shape[2])
    cells = [cell(i, j, stride, hw) for i in rows for j in columns]
    own = cell(row, column, stride, hw)
    return TokenAttention(seen.stage, seen.block, attention.axis, height, width, values, cells, own)


def _members(at: int, side: int, size: int, axis: Axis) -> range:
    """The rows (or columns) of the group that row `at` belongs to."""
    if axis == "block":
        return range(at // size * size, min(at // size * size + size, side))
    dilation = padded_size((side, side), (size, size))[0] // size
    return range(at % dilation, side, dilation)


def group_weights(attention: GroupAttention, tokens: Tensor, rows: range, columns: range) -> Tensor:
    """Attention within one group alone, on a map of any size: (1, H, W, C) -> (N, h, w, h, w), query then key.

    The real tokens of a group lie at the top left of it on both axes, so they are a small map of their own, whose one
    group has the same places and the same padding.
    """
    small = tokens[:, rows.start : rows.stop : rows.step, columns.start : columns.stop : columns.step]
    weights = attention.weights(small)[0, 0].float()  # (N, T, T)
    weights = weights.unflatten(2, attention.size).unflatten(1, attention.size)
    h, w = len(rows), len(columns)
    return weights[:, :h, :w, :h, :w]

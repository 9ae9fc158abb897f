"""What the token under a point of the image attends to, in image coordinates."""

from dataclasses import dataclass

import torch
from torch import Tensor

from maxvit.errors import MaxViTError
from maxvit.explain.capture import Look, look
from maxvit.explain.geometry import Cell, cell
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Axis, padded_size
from maxvit.model import MaxViT


@dataclass(frozen=True, slots=True)
class AttendedMap:
    """Where one token looks in one attention layer; plain values, so `json.dumps(dataclasses.asdict(it))` works.

    Attributes:
        stage: From 1.
        block: Of the stage, from 1.
        axis: "block" or "grid".
        height: Of the layer's map, in tokens.
        width: Of the layer's map, in tokens.
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


def attention_of(
    model: MaxViT,
    image: Tensor,
    stage: int,
    block: int,
    axis: Axis,
    point: tuple[int, int],
    head: int | None = None,
) -> AttendedMap:
    """What the token under a point attends to in one layer.

    Args:
        model: The network; it is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed; any size.
        stage: From 1.
        block: Of the stage, from 1.
        axis: "block" or "grid".
        point: (x, y) in pixels of this image, from the left and the top, from 0.
        head: From 0; None: the mean over the heads.

    Raises:
        MaxViTError: If there is no such layer, head or point.
    """
    check_point(point, image)
    chosen = [s for s in look(model, image).layers if (s.stage, s.block, s.attention.axis) == (stage, block, axis)]
    if not chosen:
        blocks = ", ".join(str(depth) for depth in model.config.depths)
        raise MaxViTError(
            f"there is no {axis!r} attention in block {block!r} of stage {stage!r}: the axes are 'block' and 'grid', "
            f"and stages 1 to {len(model.config.depths)} have {blocks} blocks"
        )
    heads = chosen[0].attention.heads
    if head is not None and not 0 <= head < heads:
        raise MaxViTError(f"head is {head}; stage {stage} has heads 0 to {heads - 1}, or None for their mean")
    return _attended(chosen[0], image, point, head)


def attended(model: MaxViT, image: Tensor, point: tuple[int, int]) -> list[AttendedMap]:
    """What the token under a point attends to in every layer, in one forward.

    Args:
        model: The network; it is run in evaluation mode and left as it was.
        image: (C, H, W), preprocessed; any size.
        point: (x, y) in pixels of this image, from the left and the top, from 0.

    Returns:
        Mean over heads: block, then grid attention of every block, in the order of the network.

    Raises:
        MaxViTError: If the point is outside the image, or the attention cannot be seen.
    """
    check_point(point, image)
    return [_attended(seen, image, point, None) for seen in look(model, image).layers]


def check_point(point: tuple[int, int], image: Tensor) -> None:
    """Raises `MaxViTError` for a point (x, y) that is not on an image (C, H, W)."""
    height, width = image.shape[-2:]
    if not (0 <= point[0] < width and 0 <= point[1] < height):
        raise MaxViTError(
            f"the point ({point[0]}, {point[1]}) is outside: x goes from 0 to {width - 1} and y from 0 to "
            f"{height - 1}, in pixels of the preprocessed image"
        )


def _attended(seen: Look, image: Tensor, point: tuple[int, int], head: int | None) -> AttendedMap:
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
    return AttendedMap(seen.stage, seen.block, attention.axis, height, width, values, cells, own)


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

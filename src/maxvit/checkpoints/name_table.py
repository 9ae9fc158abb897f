"""Formats whose tensors are ours, most of them under other names: one table of prefixes, read in both directions."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import NamedTuple

from torch import Tensor

from maxvit.config import (
    IMAGENET_21K,
    OFFICIAL,
    TIMM_RW,
    Dialect,
    MaxViTConfig,
    Sides,
    Size,
    with_published_drop_path,
)
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT

Shapes = Mapping[str, tuple[int, ...]]
FIRST_TABLE = "stages.0.0.block_attention.attention.bias.table"
FIRST_SCALE = 1e-6  # that timm starts `layer_scale` with, which no file says

_EVERY_LAYER = MaxViTConfig(stem_channels=32, depths=(1, 1, 1, 1))  # its first block has every layer that there is


class NameTable(NamedTuple):
    """How another package names our tensors.

    Attributes:
        block: Its prefix of block `b` of stage `s`, such as "stages.{s}.blocks.{b}"; ours is "stages.{s}.{b}".
        inside: Our prefix inside a block to theirs; one that is not here is the same.
        outside: Our prefix outside the blocks to theirs, likewise.
    """

    block: str
    inside: Mapping[str, str]
    outside: Mapping[str, str]

    def theirs(self, ours: str) -> str:
        """Their name of our tensor."""
        if match := re.match(r"stages\.(\d+)\.(\d+)\.(.*)", ours):
            return f"{self.block.format(s=match[1], b=match[2])}.{_swap(match[3], self.inside)}"
        return _swap(ours, self.outside)

    def pairs(self, config: MaxViTConfig) -> dict[str, str]:
        """Our name to theirs, for every tensor that others have too. Raises `MaxViTError` if it is too large."""
        network = MaxViT.outline(dataclasses.replace(config, novelty_centres=0))
        return {ours: self.theirs(ours) for ours in network.state_dict()}

    def foreign(self, names: Iterable[str], dialect: Dialect = OFFICIAL) -> list[str]:
        """Those names that no network of this format and dialect has, whatever its depth."""
        digits = re.escape(self.block.format(s=0, b=0)).replace("0", r"\d+")
        first = self.block.format(s=0, b=0)
        known = set(self.pairs(dataclasses.replace(_EVERY_LAYER, dialect=dialect)).values())
        return [name for name in names if re.sub(f"^{digits}", first, name) not in known]


def _swap(name: str, prefixes: Mapping[str, str]) -> str:
    if name in prefixes:
        return prefixes[name]
    prefix, leaf = name.rsplit(".", 1)
    return f"{prefixes.get(prefix, prefix)}.{leaf}"


def rename(state: Mapping[str, Tensor], names: Mapping[str, str], who: str) -> dict[str, Tensor]:
    """Give tensors new names.

    Args:
        state: Tensors by their present names.
        names: New name to present one, for every tensor that is wanted.
        who: Whose format it is, for messages.

    Raises:
        MaxViTError: If one is missing or left over.
    """
    known = set(names.values())
    problems = [f"{name} is missing" for name in names.values() if name not in state]
    problems += [f"{name} is not part of the network" for name in state if name not in known]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MaxViTError(f"the file is not a complete MaxViT of {who}: {'; '.join(problems[:3])}{more}")
    return {new: state[name] for new, name in names.items()}


def dialect_from(tensors: Mapping[str, object], names: NameTable) -> Dialect:
    """The official dialect, or that of timm's own networks whose layers are there; torchvision's looks as the official.

    Args:
        tensors: All, by their names.
        names: Their names.
    """

    def is_there(ours: str) -> bool:
        return names.theirs(ours) in tensors

    if is_there("stem.conv1.bias"):
        return OFFICIAL
    parallel = is_there("stages.0.0.attention.norm1.weight")
    layer, attention = ("attention", "block") if parallel else ("block_attention", "attention")
    return dataclasses.replace(
        TIMM_RW,
        attention="parallel" if parallel else "in turn",
        position_bias="mlp" if is_there(f"stages.0.0.{layer}.{attention}.bias.expand.weight") else "table",
        layer_scale=FIRST_SCALE if is_there(f"stages.0.0.{layer}.scale1.scale") else 0.0,
        head="dense" if is_there("head.dense.weight") else "plain",
    )


def first_bias(dialect: Dialect) -> str:
    """Our name of the tensor of the first position bias that has a row for each head."""
    attention = "attention.block" if dialect.attention == "parallel" else "block_attention.attention"
    return f"stages.0.0.{attention}.bias." + ("table" if dialect.position_bias == "table" else "project.weight")


def config_from(
    shapes: Shapes, names: NameTable, heads: int, table_size: Size, dialect: Dialect = OFFICIAL
) -> MaxViTConfig:
    """The configuration, from names and shapes alone; the side of the bias tables says the resolution.

    Args:
        shapes: Shapes of all tensors, by their names.
        names: Their names.
        heads: Heads of the first block.
        table_size: Table size of its bias tables, (height, width).
        dialect: Dialect of the network.

    Raises:
        MaxViTError: If a tensor that tells it is missing or of another shape.
    """

    def four_sides(ours: str) -> tuple[int, ...]:
        return shape_of(shapes, names.theirs(ours), 4)

    def is_there(ours: str) -> bool:
        return names.theirs(ours) in shapes

    depths: list[int] = []
    mbconv = "mbconv1" if dialect.attention == "parallel" else "mbconv"
    project = f"stages.{{}}.{{}}.{mbconv}.project.weight"
    while is_there(project.format(len(depths), 0)):
        depths.append(next(b for b in count(1) if not is_there(project.format(len(depths), b))))
    if len(depths) != 4:
        raise MaxViTError(f"it has {len(depths)} stages, and a MaxViT has 4")
    channels = tuple(four_sides(project.format(s, 0))[0] for s in range(4))
    stem, last = four_sides("stem.conv1.weight"), four_sides("stem.conv2.weight")[0]
    expand = four_sides(f"stages.0.0.{mbconv}.expand.weight")
    squeezed = [four_sides(f"stages.{s}.0.{mbconv}.se.reduce.weight")[0] for s in range(4)]
    widths = channels if dialect.widths_from == "output" else (last, *channels[:3])
    classifier = "head.classifier.weight"
    classes = shape_of(shapes, names.theirs(classifier), 2)[0] if is_there(classifier) else 0
    window = ((table_size[0] + 1) // 2, (table_size[1] + 1) // 2)
    return with_published_drop_path(
        MaxViTConfig(
            stem_channels=last,
            stem_hidden_channels=stem[0],
            in_channels=stem[1],
            channels=channels,
            depths=tuple(depths),
            head_dim=channels[0] // heads,
            expansion=expand[0] // widths[0],
            # the smallest ratio that gives so many channels, of which there is at least one
            se_ratio=max((s / w for s, w in zip(squeezed, widths, strict=True) if s > 1), default=1 / widths[-1]),
            window_size=window,
            grid_size=window,
            bias_table_size=table_size,
            num_classes=classes,
            multi_label=classes == IMAGENET_21K,
            image_size=(window[0] * 32, window[1] * 32),
            dialect=dialect,
        )
    )


def table_of_rows(rows: Tensor, window: Sides) -> Tensor:
    """A bias table as others have it, (offsets, N) by query minus key, to ours by key minus query, (N, 2h - 1, 2w - 1).

    Raises:
        MaxViTError: If it is of another window.
    """
    height, width = (2 * side - 1 for side in window)
    if rows.ndim != 2 or len(rows) != height * width:
        raise MaxViTError(f"a bias table has shape {tuple(rows.shape)}, where ({height * width}, heads) is wanted")
    return rows.T.reshape(-1, height, width).flip(1, 2).contiguous()


def rows_of_table(table: Tensor) -> Tensor:
    """Undo `table_of_rows`."""
    return table.flip(1, 2).flatten(1).T.contiguous()


def shape_of(shapes: Shapes, name: str, sides: int) -> tuple[int, ...]:
    """The shape of a tensor that every such network has.

    Raises:
        MaxViTError: If it is missing, empty, or has another number of sides.
    """
    if name not in shapes:
        raise MaxViTError(f"{name} is missing")
    if len(shapes[name]) != sides or 0 in shapes[name]:
        raise MaxViTError(f"{name} has shape {tuple(shapes[name])}, where {sides} sides above 0 are wanted")
    return tuple(shapes[name])

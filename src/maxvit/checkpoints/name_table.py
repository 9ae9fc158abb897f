"""Formats whose tensors are ours under other names: one table of prefixes, read in both directions."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from maxvit.config import MaxViTConfig
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT

Shapes = Mapping[str, tuple[int, ...]]

_EVERY_LAYER = MaxViTConfig(stem_channels=32, depths=(1, 1, 1, 1))  # its first block has every layer that there is


class NameTable(NamedTuple):
    """How another package names our tensors.

    Attributes:
        block: Its prefix of block `b` of stage `s`, such as "stages.{s}.blocks.{b}"; ours is "stages.{s}.{b}".
        inside: Our prefix inside a block to theirs.
        outside: Our prefix outside the blocks to theirs.
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
        """Our name to theirs, for every tensor of the network. Raises `MaxViTError` if it is too large to exist."""
        return {ours: self.theirs(ours) for ours in MaxViT.outline(config).state_dict()}

    def foreign(self, names: Iterable[str]) -> list[str]:
        """Those names that no network of this format has, whatever its depth."""
        digits = re.escape(self.block.format(s=0, b=0)).replace("0", r"\d+")
        first = self.block.format(s=0, b=0)
        known = set(self.pairs(_EVERY_LAYER).values())
        return [name for name in names if re.sub(f"^{digits}", first, name) not in known]


def _swap(name: str, prefixes: Mapping[str, str]) -> str:
    if name in prefixes:
        return prefixes[name]
    prefix, leaf = name.rsplit(".", 1)
    return f"{prefixes[prefix]}.{leaf}"


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


def count_blocks(shapes: Shapes, table: NameTable, project: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(depths, channels) of the stages, from the shapes of their last convolution `project` (theirs).

    Raises:
        MaxViTError: If one of these is not a convolution.
    """
    depths: list[int] = []
    channels: list[int] = []
    while (first := f"{table.block.format(s=len(depths), b=0)}.{project}.weight") in shapes:
        depth = 1
        while f"{table.block.format(s=len(depths), b=depth)}.{project}.weight" in shapes:
            depth += 1
        depths.append(depth)
        channels.append(shape_of(shapes, first, 4)[0])
    return tuple(depths), tuple(channels)


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

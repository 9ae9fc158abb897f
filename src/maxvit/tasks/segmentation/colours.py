"""Masks in colours, and the tables that say which class each colour is."""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.data.images import opened
from maxvit.data.raw import Raw
from maxvit.data.text import read_lines
from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.masks import IGNORED, UNKNOWN, Classes

Colour = tuple[int, int, int]
_VOID = ("void", "ignore", "ignored", "unlabeled", "unlabelled", "unknown")  # names of what is no class


@dataclass(frozen=True, slots=True)
class ColourTable:
    """Colours of classes, in the order of the file.

    Attributes:
        file: Where it was read.
        names: The classes.
        void: What it names and is no class.
        colours: The colour of each class, and of what is no class, such as void.
        classes: For each colour the number of its class; None: its pixels are ignored.
    """

    file: Path
    names: list[str]
    void: list[str]
    colours: tuple[Colour, ...]
    classes: tuple[int | None, ...]

    def numbered(self, numbers: Sequence[int]) -> tuple[int, ...]:
        """For each colour the number that a network gives to its class, 255 where it is ignored."""
        return tuple(IGNORED if i is None else numbers[i] for i in self.classes)

    def make_key(self, numbers: Sequence[int]) -> "ColourKey":
        """How masks in these colours are read."""
        return ColourKey(self.colours, self.numbered(numbers), self.file.name)

    def fits(self, pixels: npt.NDArray[np.uint8]) -> bool:
        """Whether every colour of a mask (height, width, 3) is in the table."""
        return {int(_code(np.array(colour))) for colour in self.colours} >= set(np.unique(_code(pixels)).tolist())


@dataclass(frozen=True, slots=True)
class ColourKey:
    """What the colours of a mask mean.

    Attributes:
        colours: Red, green and blue, 0 to 255.
        classes: The class of each, 255 where it is ignored.
        table: Name of the table, for messages.
    """

    colours: tuple[Colour, ...]
    classes: tuple[int, ...]
    table: str

    def read(self, path: Path) -> Classes:
        """See `MaskKey`. Raises `MaxViTError` if the file is missing or damaged, or has a colour of no class."""
        codes = _code(read_colours(path))
        known = np.array([_code(np.array(colour)) for colour in self.colours])
        order = known.argsort()
        places = order[np.searchsorted(known, codes, sorter=order).clip(max=len(known) - 1)]
        classes = np.where(known[places] == codes, np.asarray(self.classes, np.int16)[places], np.int16(UNKNOWN))
        if (unknown := classes == UNKNOWN).any():
            code = int(codes[unknown][0])
            colour = code >> 16, code >> 8 & 255, code & 255
            raise MaxViTError(
                f"mask {path} has the colour {colour} (red, green, blue) at {int(unknown.sum())} pixels, which "
                f"{self.table} does not have: add it there, or correct the mask; one that was resized or saved as JPEG "
                "has colours in between"
            )
        return classes


def read_colours(path: Path) -> npt.NDArray[np.uint8]:
    """The colours of a mask, (height, width, 3) uint8; of a palette image those of its palette.

    Raises:
        MaxViTError: If the file is missing or damaged, or has more than 8 bits.
    """
    with opened(path) as image:
        mode = image.format if isinstance(image, Raw) else image.mode
        if isinstance(image, Raw) or mode not in ("RGB", "RGBA", "P", "L", "LA", "1"):
            raise MaxViTError(f"mask {path} is of mode {mode}, and a mask in colours is RGB or palette: save it so")
        return np.asarray(image.convert("RGB"))


def _code(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """A colour as one number."""
    channels = pixels.astype(np.int32)
    return channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]


def read_table(file: Path) -> ColourTable:
    """Read a table of colours: class_dict.csv, label_colors.txt or labelmap.txt.

    Raises:
        MaxViTError: If a line is not of its form, or a name or a colour comes twice.
    """
    form, split = TABLES[file.name]
    rows: dict[Colour, tuple[str, int]] = {}
    names: dict[str, int] = {}
    for number, line in read_lines(file):
        if line.startswith("#") or (number == 1 and file.suffix == ".csv" and _is_heading(line)):
            continue
        where = f"{file}, line {number}"
        found = split(line)
        if found is None:
            raise MaxViTError(f"{where} is {line!r:.60}; a line takes {form}, colours from 0 to 255")
        name, colour = found
        if name in names:
            raise MaxViTError(f"{where} names {name!r}, as line {names[name]} does: give each class a name of its own")
        if colour in rows:
            other, line_of_other = rows[colour]
            raise MaxViTError(
                f"{where} gives {name!r} the colour of {other!r} (line {line_of_other}): give each its own"
            )
        names[name], rows[colour] = number, (name, number)
    classes = [name for name, _ in rows.values() if name.lower() not in _VOID]
    if not 2 <= len(classes) < IGNORED:
        raise MaxViTError(f"{file} names {len(classes)} classes; it takes 2 to 254, a line each: {form}")
    numbers = {name: i for i, name in enumerate(classes)}
    void = [name for name in names if name not in numbers]
    return ColourTable(file, classes, void, tuple(rows), tuple(numbers.get(name) for name, _ in rows.values()))


def _is_heading(line: str) -> bool:
    """Whether a line names columns."""
    return re.search(r"\d", line) is None


def _colour(values: Sequence[str]) -> Colour | None:
    if len(values) != 3 or not all(value.strip().isdecimal() and int(value) <= 255 for value in values):
        return None
    red, green, blue = map(int, values)
    return red, green, blue


def _named(name: str, values: Sequence[str]) -> tuple[str, Colour] | None:
    colour, name = _colour(values), name.strip()
    return None if colour is None or not name else (name, colour)


def _split_csv(line: str) -> tuple[str, Colour] | None:
    """name,r,g,b"""
    name, *values = next(csv.reader([line]), [""])
    return _named(name, values)


def _split_words(line: str) -> tuple[str, Colour] | None:
    """r g b name, as CamVid has it, or name r g b."""
    words = line.split()
    return _named(" ".join(words[3:]), words[:3]) or _named(" ".join(words[:-3]), words[-3:])


def _split_labelmap(line: str) -> tuple[str, Colour] | None:
    """name:r,g,b:parts:actions, as CVAT has it."""
    name, _, rest = line.partition(":")
    return _named(name, rest.partition(":")[0].split(","))


# the files that are tables of colours: what a line takes, and how it is read
TABLES: dict[str, tuple[str, Callable[[str], tuple[str, Colour] | None]]] = {
    "class_dict.csv": ("name,r,g,b", _split_csv),
    "label_colors.txt": ("r g b name", _split_words),
    "labelmap.txt": ("name:r,g,b::", _split_labelmap),
}

"""What the masks of a data set mean: the names of its classes, and which value or colour each of them is."""

import csv
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from maxvit.data.text import read_lines
from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.colours import TABLES, ColourTable, read_colours, read_table
from maxvit.tasks.segmentation.masks import IGNORED, WHITE, Key, MaskKey, read_values

logger = logging.getLogger(__name__)
SAMPLE = 50  # masks that are looked at before a run
MASK_ENDINGS = (".png", ".bmp", ".gif", ".tif", ".tiff")  # without loss
_NAMES = ("classes.txt", "codes.txt", "class_names.txt")  # a name a line, in the order of the values
_VALUES = "_classes.csv"  # Roboflow: a value and a name a line
LEGENDS = (*_NAMES, *TABLES, _VALUES)  # files that say what masks mean


@dataclass(frozen=True, slots=True)
class Legend:
    """What masks mean.

    Attributes:
        names: The classes; None: nothing names them.
        make_key: From the number of each class, in the order of the names, to how a mask is read.
        first: The value of the first class, where masks hold values.
        count: How many classes there are, where it is known without names.
    """

    names: list[str] | None
    make_key: Callable[[Sequence[int]], MaskKey]
    first: int = 0
    count: int | None = None


def find_legend(folders: Sequence[Path], masks: Sequence[Path]) -> Legend:
    """What the files of names or colours say in the first of some folders that has one; else the masks alone.

    Masks that hold 0 and 255 alone, and have two classes or no names, are black and white: then 255 is a class.

    Args:
        folders: Where to look.
        masks: Those of the part that is learned from.

    Raises:
        MaxViTError: If there are two such files in a folder, or one cannot be read.
    """
    there = ([folder / name for name in LEGENDS if (folder / name).is_file()] for folder in folders)
    found = next(filter(None, there), [])
    if len(found) > 1:
        raise MaxViTError(f"{found[0]} and {found[1].name} both name the classes: keep one of them")
    if not found:
        return by_values(None, masks)
    (file,) = found
    if file.name in TABLES:
        return _by_colours(read_table(file), masks)
    if file.name == _VALUES:
        return _by_rows(file)
    return by_values(read_names(file), masks)


def by_values(names: list[str] | None, masks: Sequence[Path]) -> Legend:
    """The value of a class is its place in the order of the names, from 0 on; see `find_legend`.

    Raises:
        MaxViTError: If there are more than two names, and the first masks hold 0 and 255 alone.
    """
    if names is None or len(names) == 2:
        if _are_black_and_white(masks):
            return Legend(names, _black_and_white, count=2)
    elif _are_black_and_white(masks[:SAMPLE]):
        raise MaxViTError(
            f"the masks of {masks[0].parent} hold 0 and 255 alone, which are two classes, and {len(names)} are named: "
            "255 is ignored, so correct the masks or the names"
        )
    return Legend(names, partial(Key.of, zero_is_ignored=False))


def _black_and_white(numbers: Sequence[int]) -> Key:
    if len(numbers) != 2:
        raise MaxViTError(
            f"the masks hold 0 and 255 alone, which are two classes, and the network has {len(numbers)}: name the two "
            "in classes.txt, a line each"
        )
    return Key.black_and_white(numbers)


def read_names(file: Path, take: Callable[[Sequence[str]], Iterable[str]] = list) -> list[str]:
    """A name a line.

    Args:
        file: A file of text.
        take: From its lines, without those that are empty, to the names.

    Raises:
        MaxViTError: If it cannot be read, names a class twice, or too few or too many.
    """
    names = list(take([line for _, line in read_lines(file)]))
    return check_names(file, names)


def check_names(file: Path, names: list[str]) -> list[str]:
    """Refuse, by `MaxViTError`, names that come twice, or too few or too many."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MaxViTError(f"{file} names {twice[0]!r} twice: give each class a name of its own")
    if not 2 <= len(names) < IGNORED:
        raise MaxViTError(f"{file} names {len(names)} classes; it takes 2 to 254, one a line, in order of their values")
    return names


def _by_rows(file: Path) -> Legend:
    """Roboflow's: a heading, then a value and a name."""
    values: dict[int, str] = {}
    for number, line in read_lines(file)[1:]:
        cells = [cell.strip() for cell in next(csv.reader([line]))]
        if len(cells) != 2 or not cells[0].isdecimal() or int(cells[0]) >= IGNORED or not cells[1]:
            raise MaxViTError(f"{file}, line {number} is {line!r:.60}; it takes a value from 0 to 254 and a name")
        if int(cells[0]) in values:
            raise MaxViTError(f"{file}, line {number} has the value {cells[0]} for the second time: give each its own")
        values[int(cells[0])] = cells[1]
    names = check_names(file, list(values.values()))
    return Legend(names, lambda numbers: Key.at(dict(zip(values, numbers, strict=True))))


def _by_colours(table: ColourTable, masks: Sequence[Path]) -> Legend:
    """Most of a sample of the masks decide whether they hold the table's colours, or the places of its lines."""
    if table.void:
        logger.warning("%s: pixels of %s are ignored", table.file, " and ".join(table.void))
    sample = masks[:SAMPLE]
    if sum(_holds_places(mask, table) for mask in sample) * 2 > len(sample):
        return Legend(table.names, lambda numbers: Key.at(dict(enumerate(table.numbered(numbers)))))
    return Legend(table.names, table.make_key)


def _holds_places(mask: Path, table: ColourTable) -> bool:
    """Whether a mask has one channel, and its values are no colours of the table but places in it."""
    try:
        return not table.fits(read_colours(mask)) and set(np.unique(read_values(mask)).tolist()) <= {
            *range(len(table.colours)),
            IGNORED,
        }
    except MaxViTError:
        return False


def _are_black_and_white(masks: Iterable[Path]) -> bool:
    """Whether all masks hold 0 and 255 alone, and both occur: reading ends at the first that holds anything else."""
    values: set[int] = set()
    for mask in masks:
        try:
            values |= {int(value) for value in np.unique(read_values(mask))}
        except MaxViTError:
            continue  # it is named when its turn comes
        if not values <= {0, WHITE}:
            return False
    return values == {0, WHITE}


def count_classes(path: Path, folder: Path, masks: Sequence[Path], legend: Legend) -> list[str]:
    """Names for classes that nothing names: "class 0", ... up to the highest value of the masks, which are all read.

    Args:
        path: The data set, for messages.
        folder: Folder of the masks, for messages.
        masks: Those of the part that is learned from.
        legend: What they mean.

    Raises:
        MaxViTError: If there are fewer than two, or a value is missing between them, or no mask can be read.
    """
    if legend.count is not None:
        return _numbered(legend.count)
    values, first = _values(masks), legend.first
    classes = sorted(value for value in values - {IGNORED} if value >= first)
    if len(classes) < 2:
        raise MaxViTError(
            f"the masks of {folder} have {len(classes)} class{'es' * (not classes)} other than what is ignored, and "
            "two are wanted: 255 is ignored, unless all masks hold 0 and 255 alone"
        )
    if classes[-1] - first >= len(classes):
        gap = next(value for value in range(first, IGNORED) if value not in classes)
        few = ", ".join(map(str, classes[:6])) + ", ..." * (len(classes) > 6)
        raise MaxViTError(
            f"the masks of {folder} hold the values {few}, and no {gap}, so the number of classes is not clear: give "
            f"the classes the values {first}, {first + 1}, ... without a gap, or name all in {path / 'classes.txt'}, a "
            "line for each value, also for those that no mask holds"
        )
    return _numbered(len(classes))


def _numbered(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def _values(masks: Sequence[Path]) -> set[int]:
    """That masks hold; one that cannot be read is named when its turn comes. Raises `MaxViTError` if none can be."""
    values: set[int] = set()
    problems = []
    for mask in masks:
        try:
            values |= {int(value) for value in np.unique(read_values(mask))}
        except MaxViTError as error:
            problems.append(error)
    if len(problems) == len(masks):
        raise problems[0]
    return values

"""Images and how many people gave them each score: AVA as it is published, or a CSV file."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from maxvit.data.columns import find_split, other_columns, say_split
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import locate_all, normal
from maxvit.data.parts import part_of
from maxvit.data.rows import Rows, name_columns, read_rows
from maxvit.errors import MaxViTError

SCORES = [str(score) for score in range(1, 11)]
_FILES = ("scores.csv", "AVA.txt")
_AVA_TEST = ("test.txt", "aesthetics_image_lists/generic_test.jpgl")
_WANTED = f"image, {', '.join(SCORES[:2])}, ..., {SCORES[-1]} and perhaps split"
_COLUMNS = ["image", *SCORES]
_PARTS = ("train", "val", "test")

Row = tuple[str, str, Sequence[str], str]  # where in the file, image, ten cells, part ("": it does not say)


def read_scores(path: Path) -> dict[str, LabelledImages]:
    """Every image that exists, with its ten shares (float32, they sum to 1), by part; "train" where none is named.

    Args:
        path: A CSV file with the columns image, 1, ..., 10 and perhaps split, and others that are kept; or AVA.txt; or
            the folder of one, then named scores.csv or AVA.txt. The names of images count from its folder `images`, if
            it has one.

    Raises:
        MaxViTError: If something is missing or not as it should be; it names the file.
    """
    file = _find(path)
    table = None if file.suffix.lower() == ".txt" else read_rows(file, f"its first line must name {_WANTED}")
    split = None if table is None else find_split(table, _COLUMNS)
    rows = _read_ava(file) if table is None else _read_csv(table, split)
    others = {} if table is None else other_columns(table, [*_COLUMNS, split])
    names, counts, parts, places = [], [], [], []
    first: dict[str, str] = {}
    for place, name, cells, part in rows:
        if not name:
            raise MaxViTError(f"{place} names no image: give its file name, or remove the line")
        if (same := normal(os.path.normpath(name))) in first:
            earlier = first[same].partition(" of ")[0]
            raise MaxViTError(f"{place}: {name} was on {earlier} already; give each image once")
        if part and part_of(part) is None:
            raise MaxViTError(f"{place}: split is {part!r}; give train, val or test")
        first[same] = place
        names.append(name)
        counts.append(_numbers(place, cells))
        parts.append(part_of(part) or "train")
        places.append(place)
    if not names:
        raise MaxViTError(f"{file} holds no image: a line each is wanted")
    shares = cast(Sequence[Any], _shares(places, np.array(counts)))
    folder = file.parent / "images" if (file.parent / "images").is_dir() else file.parent
    paths, missing = locate_all(folder, names, str(file))
    images = LabelledImages(
        [p or folder for p in paths],
        shares,
        list(SCORES),
        names,
        passed_over=missing,
        are_classes=False,
        others=others,
        columns=(f"; other columns: {name_columns(list(others))}" if others else "") + say_split(split),
    )
    there = [i for i, p in enumerate(paths) if p is not None]
    chosen = {part: [i for i in there if parts[i] == part] for part in _PARTS}
    return {part: images.subset(indices) for part, indices in chosen.items() if indices}


def _find(path: Path) -> Path:
    """The file with the scores."""
    if path.is_file():
        if path.suffix.lower() not in (".csv", ".txt"):
            raise MaxViTError(f"{path} is neither a CSV file nor AVA.txt: give one of them, or their folder")
        return path
    if not path.is_dir():
        raise MaxViTError(f"{path} does not exist: check the path")
    found = [path / name for name in _FILES if (path / name).is_file()]
    if len(found) != 1:
        what = "both {} and {}" if found else "neither {} nor {}"
        what = what.format(f"{_FILES[0]} (columns {_WANTED})", _FILES[1])
        raise MaxViTError(f"{path} holds {what}: keep or give one file")
    return found[0]


def recognizes_scores(path: Path) -> bool:
    """Whether there is AVA.txt, or a table whose first line has a column for each score."""
    files = [path / name for name in _FILES] if path.is_dir() else [path]
    return any(file.is_file() and (file.name == _FILES[1] or _has_scores(file)) for file in files)


def _has_scores(file: Path) -> bool:
    if file.suffix.lower() != ".csv":
        return False
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        header = [name.strip() for name in re.split("[,;\t]", lines.readline())]
    return set(_COLUMNS) <= set(header)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise MaxViTError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except OSError as error:
        raise MaxViTError(f"{file} cannot be read: {error.strerror}") from error


def _read_csv(rows: Rows, split: str | None) -> Iterator[Row]:
    """Rows of a table with a header."""
    if missing := [name for name in _COLUMNS if name not in rows.columns]:
        raise MaxViTError(f"{rows.file} lacks the column {missing[0]!r}: its first line must name {_WANTED}, once each")
    parts = [""] * len(rows) if split is None else rows.columns[split]
    for i, place in enumerate(rows.places):
        name, *cells = (rows.columns[column][i] for column in _COLUMNS)
        yield f"{place} of {rows.file}", name, cells, parts[i]


def _read_ava(file: Path) -> Iterator[Row]:
    """Rows of AVA.txt: number, id, ten counts, two tags, challenge. A list of ids next to it names the test images."""
    lists = [file.parent / name for name in _AVA_TEST if (file.parent / name).is_file()]
    test = {line.strip().removesuffix(".jpg") for line in _text(lists[0]).split("\n")} if lists else set()
    for number, line in enumerate(_text(file).split("\n"), 1):
        cells = line.split()
        place = f"line {number} of {file}"
        if cells and len(cells) != 15:
            raise MaxViTError(f"{place} has {len(cells)} numbers; AVA's lines have 15: number, id, 10 counts, 3 tags")
        if cells:
            yield place, f"{cells[1]}.jpg", cells[2:12], "test" if cells[1] in test else ""


def _numbers(place: str, cells: Sequence[str]) -> list[float]:
    try:
        return [float(cell) for cell in cells]
    except ValueError as error:
        raise MaxViTError(f"{place}: the scores {', '.join(cells)} are not all numbers: give ten counts") from error


def _shares(places: Sequence[str], counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Ten counts or shares a row as shares that sum to 1: (n, 10)."""
    with np.errstate(over="ignore", invalid="ignore"):
        sums = counts.sum(1, keepdims=True)
    right = (counts >= 0).all(1) & (sums[:, 0] > 0) & np.isfinite(sums[:, 0])
    if not right.all():
        place, row = places[right.argmin()], ", ".join(f"{count:g}" for count in counts[right.argmin()])
        raise MaxViTError(f"{place}: the scores {row} are not counts: give numbers from 0 up, not all 0")
    return (counts / sums).astype(np.float32)

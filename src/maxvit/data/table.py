"""A data set as a table: a CSV, TSV or Parquet file with the path of each image and what it shows."""

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import numpy as np

from maxvit.data.dataset import LabelledImages, Labels, Splits, split
from maxvit.data.finding import locate, locate_all, normal
from maxvit.data.shards.index import SPLITS
from maxvit.errors import MaxViTError

KINDS = (".csv", ".tsv", ".parquet")
_PROBABILITY = "probability:"
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_WANTED = (
    "the columns are path, and label (one class), labels (several, separated by |) or one probability:CLASS per class, "
    "and optionally split (train, val, test)"
)


@dataclass(frozen=True, slots=True)
class _Rows:
    """A table of text, and what to call its rows in messages."""

    file: Path
    columns: Mapping[str, Sequence[str]]
    rows: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def wrong(self, i: int, sentence: str) -> MaxViTError:
        return MaxViTError(f"{self.rows[i]} of {self.file}: {sentence}")


def load_list(file: Path, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Read a data set from a list.

    Column `path`: relative to the list's folder, or absolute. Exactly one of: column `label`, a class name or an
    integer; column `labels`, class names separated by `|`, none where it is empty; a column `probability:CLASS` for
    each class, rows summing to 1. Optional column `split`: train, val or test.

    Args:
        file: .csv or .tsv (UTF-8), or .parquet.
        val_fraction: Share of the training images that is held out where no row is of `val`.
        seed: Seed of that split.

    Returns:
        Labels are indices for `label`, (n, classes) bool for `labels`, float32 for probabilities. Class names are those
        found, sorted; integers by value.

    Raises:
        MaxViTError: If the list is missing, empty or unreadable, has other columns, a row that is not as described,
            or a path twice, or if no image exists.
    """
    parts = read_list(file)
    if "all" in parts:
        return Splits(*split(parts["all"], val_fraction, seed))
    if "train" not in parts:
        raise MaxViTError(f"no row of {file} is of the split train: training needs some")
    if "val" in parts:
        return Splits(parts["train"], parts["val"], parts.get("test"))
    return Splits(*split(parts["train"], val_fraction, seed), parts.get("test"))


def read_list(file: Path) -> dict[str, LabelledImages]:
    """The images of a list that exist: of "train", "val" and "test" as far as there are any, or "all" alone.

    Raises as `load_list` does, but for a list without training images.
    """
    rows = _read(file)
    kind = _kind(rows)
    _check_once(rows)
    read_labels = {"label": _single, "labels": _several, "probability": _soft}[kind]
    labels, class_names = read_labels(rows)
    members = _members(rows) if "split" in rows.columns else {"all": range(len(rows))}
    names = list(rows.columns["path"])
    paths, missing = locate_all(file.parent, names, str(file))
    sources = [path or file.parent / name for path, name in zip(paths, names, strict=True)]
    everything = LabelledImages(sources, labels, class_names, names, passed_over=missing)
    there = {part: [i for i in found if paths[i] is not None] for part, found in members.items()}
    return {part: replace(everything.subset(found), part=part) for part, found in there.items() if found}


def read_paths(file: Path) -> tuple[list[Path], list[str], list[str] | None]:
    """The images of a list of which nothing but the column `path` is needed, whether they exist or not.

    Returns:
        Their places, what the list calls them, and the cells of its column `label` or `labels`; None: it has neither.

    Raises:
        MaxViTError: As `load_list`, but for images that do not exist and labels.
    """
    rows = _read(file)
    if "path" not in rows.columns:
        raise MaxViTError(f"{file} has no column 'path' among {_found(rows)}: name the column of the images so")
    _check_once(rows)
    names, labels = rows.columns["path"], rows.columns.get("label", rows.columns.get("labels"))
    places = [locate(file.parent, name) or file.parent / name for name in names]
    return places, list(names), None if labels is None else list(labels)


def _read(file: Path) -> _Rows:
    if not file.is_file():
        raise MaxViTError(f"{file} {'is a folder' if file.exists() else 'does not exist'}: give a list of images")
    if file.suffix.lower() not in KINDS:
        raise MaxViTError(f"{file} ends in {file.suffix!r}, and a list ends in one of {', '.join(KINDS)}: rename it")
    rows = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_text(file)
    if not len(rows):
        raise MaxViTError(f"{file} is an empty list: {_WANTED}")
    return rows


def _read_text(file: Path) -> _Rows:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, delimiter=delimiter, strict=True)
            header = next(reader, [])
            cells: list[list[str]] = [[] for _ in header]
            rows: list[str] = []
            for row in reader:
                if not row:  # a blank line
                    continue
                if len(row) != len(header):
                    raise MaxViTError(
                        f"line {reader.line_num} of {file} has {len(row)} cells, and the first line {len(header)}: "
                        "put cells that hold the separator into quotes"
                    )
                rows.append(f"line {reader.line_num}")
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell.strip())
    except UnicodeDecodeError as error:
        raise MaxViTError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise MaxViTError(f"line {reader.line_num} of {file} cannot be read: {error}") from error
    except OSError as error:
        raise MaxViTError(f"{file} cannot be read: {error.strerror}") from error
    return _Rows(file, _unique(header, cells, file), rows)


def _read_parquet(file: Path) -> _Rows:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise MaxViTError(f"{file}: Parquet needs pyarrow: pip install 'maxvit[lists]', or save a CSV file") from error
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise MaxViTError(f"{file} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from error
    cells = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return _Rows(file, _unique(table.column_names, cells, file), [f"row {i}" for i in range(1, table.num_rows + 1)])


def _text(value: object) -> str:
    """A cell as a CSV file would hold it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # integers with gaps become floats in many programs
    return str(value).strip()


def _unique(names: Sequence[str], cells: Sequence[list[str]], file: Path) -> dict[str, list[str]]:
    names = [normal(name.strip()) for name in names]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise MaxViTError(f"{file} has two columns {twice[0]!r}: remove or rename one")
    return dict(zip(names, cells, strict=True))


def _kind(rows: _Rows) -> str:
    """Which of the three ways to label the columns are: label, labels or probability."""
    columns = rows.columns
    if "path" not in columns:
        raise MaxViTError(f"{rows.file} has no column 'path' among {_found(rows)}: {_WANTED}")
    probabilities = [name for name in columns if name.startswith(_PROBABILITY)]
    if unknown := [name for name in columns if name not in ("path", "label", "labels", "split", *probabilities)]:
        raise MaxViTError(f"{rows.file} has a column {unknown[0]!r}, and {_WANTED}: rename or remove it")
    kinds = [name for name in ("label", "labels") if name in columns] + ["probability"] * bool(probabilities)
    if len(kinds) != 1:
        what = f"both {kinds[0]} and {kinds[1]}" if kinds else "no labels"
        raise MaxViTError(f"{rows.file} has {what} among its columns {_found(rows)}: {_WANTED}")
    return kinds[0]


def _found(rows: _Rows) -> str:
    return ", ".join(repr(name) for name in list(rows.columns)[:8])


def _check_once(rows: _Rows) -> None:
    """Refuse a row without a path, and a path that was on another row."""
    first: dict[str, int] = {}
    for i, name in enumerate(rows.columns["path"]):
        if not name:
            raise rows.wrong(i, "path is empty: give the path of an image, or remove the line")
        path = normal(os.path.normpath(rows.file.parent / name))
        if path in first:
            raise rows.wrong(i, f"{name} was on {rows.rows[first[path]]} already: give each image once")
        first[path] = i


def _single(rows: _Rows) -> tuple[Labels, list[str]]:
    column = [normal(name) for name in rows.columns["label"]]
    if "" in column:
        raise rows.wrong(column.index(""), "label is empty: give a class, or remove the line")
    class_names = _sorted(set(column))
    if len(class_names) < 2:
        raise MaxViTError(f"{rows.file} has one class only, {class_names[0]!r}: add images of a second one")
    numbers = {name: i for i, name in enumerate(class_names)}
    return [numbers[name] for name in column], class_names


def _several(rows: _Rows) -> tuple[Labels, list[str]]:
    sets = [[normal(name.strip()) for name in cell.split("|")] if cell else [] for cell in rows.columns["labels"]]
    for i, names in enumerate(sets):
        if "" in names:
            raise rows.wrong(i, f"labels {rows.columns['labels'][i]!r} hold an empty class: write cat|dog, or nothing")
    class_names = _sorted({name for names in sets for name in names})
    if not class_names:
        raise MaxViTError(f"no image of {rows.file} has a class: fill in the column labels, such as cat|dog")
    numbers = {name: i for i, name in enumerate(class_names)}
    labels = np.zeros((len(rows), len(class_names)), dtype=bool)
    for i, names in enumerate(sets):
        labels[i, [numbers[name] for name in names]] = True
    return labels, class_names


def _soft(rows: _Rows) -> tuple[Labels, list[str]]:
    class_names = _sorted({name.removeprefix(_PROBABILITY) for name in rows.columns if name.startswith(_PROBABILITY)})
    if len(class_names) < 2 or "" in class_names:
        raise MaxViTError(f"{rows.file} must have a column {_PROBABILITY}CLASS for each of two classes or more")
    labels = np.zeros((len(rows), len(class_names)), dtype=np.float64)
    for c, name in enumerate(class_names):
        for i, cell in enumerate(rows.columns[_PROBABILITY + name]):
            try:
                labels[i, c] = float(cell)
            except ValueError as error:
                raise rows.wrong(i, f"the probability of {name} is {cell!r}, which is not a number") from error
            if not isfinite(labels[i, c]) or labels[i, c] < 0:
                raise rows.wrong(i, f"the probability of {name} is {cell}: give 0 to 1")
    sums = labels.sum(1)
    if (wrong := np.flatnonzero(np.abs(sums - 1) > 1e-3)).size:
        raise rows.wrong(int(wrong[0]), f"the probabilities sum to {sums[wrong[0]]:.4g}, and 1 is wanted: scale them")
    return labels.astype(np.float32), class_names


def _sorted(names: set[str]) -> list[str]:
    """By value where all are integers, else by name."""
    if all(_INTEGER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _members(rows: _Rows) -> Mapping[str, Sequence[int]]:
    """The rows of each split."""
    members: dict[str, list[int]] = {name: [] for name in SPLITS}
    for i, name in enumerate(rows.columns["split"]):
        if name not in members:
            raise rows.wrong(i, f"split is {name!r}: give train, val or test")
        members[name].append(i)
    return members

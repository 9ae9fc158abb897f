"""A data set to classify as a list: a CSV, TSV or Parquet file with the name of each image and what it shows."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from maxvit.data.columns import (
    GUESSED,
    ListColumns,
    find_image_column,
    find_label_columns,
    other_columns,
    say_columns,
)
from maxvit.data.dataset import LabelledImages, Labels, Splits, split
from maxvit.data.finding import Names, normal
from maxvit.data.listed import check_once, listed_images
from maxvit.data.rows import Rows, read_rows
from maxvit.errors import MaxViTError

_PROBABILITY = "probability:"
_INTEGER = re.compile(r"[+-]?\d{1,18}")
_ROUNDING = 1e-3  # of shares that are written with few decimals
_YES, _NO = ("1", "1.0", "true"), ("0", "0.0", "false")
_WANTED = (
    "the usual columns are path, and label (one class), labels (several, separated by |) or one probability:CLASS per "
    "class, and optionally split (train, val, test)"
)


@dataclass(frozen=True, slots=True)
class ListedPaths:
    """The images of a list, whether they exist or not.

    Attributes:
        sources: Their places.
        names: What the list calls them.
        labels: The cells of its column `label` or `labels`; None: it has neither.
        others: The cells of all other columns.
        columns: As of `LabelledImages`.
    """

    sources: Sequence[Path]
    names: Sequence[str]
    labels: Sequence[str] | None = None
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: str = ""


def load_list(file: Path, val_fraction: float = 0.2, seed: int = 0, columns: ListColumns = GUESSED) -> Splits:
    """Read a data set from a list.

    The column of the images, `path` or another: relative to the list's folder, absolute, or the name of an image in a
    folder next to the list, with its ending or without. Labels, one of:

    - a column with a class, by its name or as an integer: `label` or another;
    - a column with several classes: `labels`, or another in which some cells have `|`, which separates them;
    - a column for each class with 0 and 1, or shares that sum to 1. Where each row has exactly one 1, an image has one
      class, else several. Or columns `probability:CLASS`.

    Optional column `split`: train, val or test, or what else a part is called. All other columns are kept as they are.

    Args:
        file: .csv or .tsv (UTF-8; commas, semicolons or tabs), or .parquet.
        val_fraction: Share of the training images that is held out where no row is of `val`.
        seed: Seed of that split.
        columns: Which columns to read.

    Returns:
        Labels are indices for one class, (n, classes) bool for several, float32 for shares. Class names are those
        found, sorted; integers by value.

    Raises:
        MaxViTError: If the list is missing, empty or unreadable, it is not plain which columns are meant, a row is not
            as described, an image comes twice, or no image exists.
    """
    parts = read_list(file, columns)
    if "all" in parts:
        return Splits(*split(parts["all"], val_fraction, seed))
    if "train" not in parts:
        raise MaxViTError(f"no row of {file} has the split train: give some rows that, to learn from")
    if "val" in parts:
        return Splits(parts["train"], parts["val"], parts.get("test"))
    return Splits(*split(parts["train"], val_fraction, seed), parts.get("test"))


def read_list(file: Path, columns: ListColumns = GUESSED) -> dict[str, LabelledImages]:
    """The images of a list that exist: of "train", "val" and "test" as far as there are any, or "all" alone.

    Raises as `load_list` does, but for a list without training images.
    """
    rows, names = read_rows(file, _WANTED), Names(file)
    image = find_image_column(rows, columns, names)
    chosen = _label_columns(rows, columns.labels, image)
    if all(name.startswith(_PROBABILITY) for name in chosen):
        labels, class_names = _soft(rows, {name.removeprefix(_PROBABILITY): name for name in chosen})
    elif len(chosen) > 1:
        labels, class_names = _one_column_each(rows, chosen)
    elif chosen[0] == "labels" or (chosen[0] != "label" and any("|" in cell for cell in rows.columns[chosen[0]])):
        labels, class_names = _several(rows, chosen[0])
    else:
        labels, class_names = _single(rows, chosen[0])
    return listed_images(rows, columns, image, chosen, names, labels, class_names)


def read_paths(file: Path, columns: ListColumns = GUESSED) -> ListedPaths:
    """The images of a list of which nothing but their names is needed, whether they exist or not.

    Raises:
        MaxViTError: As `load_list`, but for images that do not exist and labels.
    """
    rows, names = read_rows(file, _WANTED), Names(file)
    image = find_image_column(rows, columns, names)
    check_once(rows, image)
    cells = list(rows.columns[image])
    labels = next((name for name in ("label", "labels") if name in rows.columns and name != image), None)
    others = other_columns(rows, [name for name in (image, labels) if name])
    return ListedPaths(
        [names.find(name) or file.parent / name for name in cells],
        cells,
        None if labels is None else list(rows.columns[labels]),
        others,
        say_columns(columns, image, (), None, (), names, ""),
    )


def _label_columns(rows: Rows, wanted: Sequence[str], image: str) -> Sequence[str]:
    """The columns of the labels: those that are wanted, else those with the documented names, else a guess."""
    probabilities = [name for name in rows.columns if name.startswith(_PROBABILITY)]
    kinds = [(name,) for name in ("label", "labels") if name in rows.columns] + [tuple(probabilities)] * bool(
        probabilities
    )
    if wanted or not kinds:
        zeros_and_ones = [name for name, cells in rows.columns.items() if _are_answers(cells)]
        return find_label_columns(rows, wanted, image, together=zeros_and_ones)
    if len(kinds) > 1:
        both = " and ".join(kind[0].partition(":")[0] for kind in kinds[:2])
        raise MaxViTError(
            f"{rows.file} has both {both} among its columns {rows.say_columns()}: name the one to learn with "
            "--label-column (data.label_column)"
        )
    return kinds[0]


def _are_answers(cells: Sequence[str]) -> bool:
    return all(cell.lower() in (*_YES, *_NO) for cell in cells)


def _single(rows: Rows, label: str) -> tuple[Labels, list[str]]:
    column = [normal(name) for name in rows.columns[label]]
    if "" in column:
        raise rows.wrong(column.index(""), f"{label} is empty: give a class, or remove the line")
    class_names = _sorted(set(column))
    if len(class_names) < 2:
        raise MaxViTError(f"{rows.file} has one class only, {class_names[0]!r}: add images of a second one")
    _refuse_numbers(rows, label, column)
    numbers = {name: i for i, name in enumerate(class_names)}
    return [numbers[name] for name in column], class_names


def _refuse_numbers(rows: Rows, label: str, column: Sequence[str]) -> None:
    """Refuse numbers with fractions of which some come once: they are measured, and no classes."""
    counts = Counter(column)
    values = {name: rows.number(name) for name in counts}
    fractions = [name for name, value in values.items() if value is not None and not value.is_integer()]
    if fractions and None not in values.values() and min(counts.values()) < 2:
        raise MaxViTError(
            f"column {label!r} of {rows.file} holds numbers, such as {fractions[0]}, some of them once, and a class "
            "takes two images: for numbers as targets use --task regression"
        )


def _several(rows: Rows, column: str) -> tuple[Labels, list[str]]:
    sets = [[normal(name.strip()) for name in cell.split("|")] if cell else [] for cell in rows.columns[column]]
    for i, names in enumerate(sets):
        if "" in names:
            raise rows.wrong(i, f"{column} {rows.columns[column][i]!r} hold an empty class: write cat|dog, or nothing")
    class_names = _sorted({name for names in sets for name in names})
    if not class_names:
        raise MaxViTError(f"no image of {rows.file} has a class: fill in the column {column}, such as cat|dog")
    numbers = {name: i for i, name in enumerate(class_names)}
    labels = np.zeros((len(rows), len(class_names)), dtype=bool)
    for i, names in enumerate(sets):
        labels[i, [numbers[name] for name in names]] = True
    return labels, class_names


def _one_column_each(rows: Rows, columns: Sequence[str]) -> tuple[Labels, list[str]]:
    """A column for each class: 0 and 1, or shares."""
    if not all(_are_answers(rows.columns[name]) for name in columns):
        return _soft(rows, {name: name for name in columns})
    class_names = _sorted(set(columns))
    labels = np.array([[cell.lower() in _YES for cell in rows.columns[name]] for name in class_names]).T
    if not (labels.sum(1) == 1).all():
        return labels, class_names
    return labels.argmax(1).tolist(), class_names


def _soft(rows: Rows, columns: Mapping[str, str]) -> tuple[Labels, list[str]]:
    """The shares of classes, from the column of each."""
    class_names = _sorted(set(columns))
    if len(class_names) < 2 or "" in class_names:
        raise MaxViTError(f"{rows.file} must have a column {_PROBABILITY}CLASS for each of two classes or more")
    labels = np.zeros((len(rows), len(class_names)), dtype=np.float64)
    for c, name in enumerate(class_names):
        for i, cell in enumerate(rows.columns[columns[name]]):
            if (share := rows.number(cell)) is None:
                raise rows.wrong(i, f"the probability of {name} is {cell!r}, which is not a number")
            if not 0 <= share <= 1 + _ROUNDING:
                raise rows.wrong(i, f"the probability of {name} is {cell}: give 0 to 1")
            labels[i, c] = share
    sums = labels.sum(1)
    if (wrong := np.flatnonzero(np.abs(sums - 1) > _ROUNDING)).size:
        raise rows.wrong(int(wrong[0]), f"the probabilities sum to {sums[wrong[0]]:.4g}, and 1 is wanted: scale them")
    return labels.astype(np.float32), class_names


def _sorted(names: set[str]) -> list[str]:
    """By value where all are integers, else by name."""
    if all(_INTEGER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)

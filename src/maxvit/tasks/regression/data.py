"""Images and numbers that were measured of each: a list with a column for each."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from maxvit.data.columns import ListColumns, find_image_column, find_label_columns
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import Names, name_some
from maxvit.data.listed import listed_images
from maxvit.data.rows import KINDS, Rows, read_rows
from maxvit.errors import MaxViTError

_WANTED = "a column with the names of images is wanted, one or more with numbers, and perhaps split (train, val, test)"


def read_numbers(path: Path, class_names: Sequence[str] | None, columns: ListColumns) -> dict[str, LabelledImages]:
    """Every image that exists, with its numbers, (n, outputs) float64, by part; "all" where there are no parts.

    Args:
        path: A list: .csv, .tsv or .parquet. How images are named in it: see `maxvit.data.table.load_list`.
        class_names: What a network predicts, which are the columns if there are such; None: the list says it.
        columns: What a person said of the columns. Without, the only column of numbers is the target.

    Raises:
        MaxViTError: If it is not a list, it is not plain which columns are meant, or a cell is not a number.
    """
    if path.is_dir():
        raise MaxViTError(f"{path} is a folder, and regression takes a list (.csv, .tsv, .parquet): {name_some(path)}")
    if path.suffix.lower() not in KINDS:
        raise MaxViTError(f"{path} is not a list, which regression takes: give a .csv, .tsv or .parquet file")
    rows, names = read_rows(path, _WANTED), Names(path)
    image = find_image_column(rows, columns, names)
    targets = _target_columns(rows, class_names, columns, image)
    numbers = np.array([_numbers(rows, name) for name in targets]).T  # (n, outputs)
    return listed_images(rows, columns, image, targets, names, numbers, list(class_names or targets), are_classes=False)


def _target_columns(rows: Rows, class_names: Sequence[str] | None, columns: ListColumns, image: str) -> tuple[str, ...]:
    wanted = columns.labels
    if not wanted and class_names and all(name in rows.columns for name in class_names):
        wanted = tuple(class_names)
    others = [name for name in rows.columns if name != image]
    numeric = [name for name in others if _is_numeric(rows, name)]
    # where no column is of numbers alone, one with some is meant, and what is wrong in it is named where it is read
    fits = numeric or [name for name in others if any(rows.number(cell) is not None for cell in rows.columns[name])]
    found = find_label_columns(rows, wanted, image, fits)
    if class_names is not None and len(found) != len(class_names):
        raise MaxViTError(
            f"the network predicts {', '.join(class_names)}, and of {rows.file} {', '.join(found)} would be read: name "
            f"{len(class_names)} in that order with --label-column (data.label_column)"
        )
    return found


def _is_numeric(rows: Rows, name: str) -> bool:
    """Whether all cells that are not empty are numbers, and there is one."""
    cells = [cell for cell in rows.columns[name] if cell]
    return bool(cells) and all(rows.number(cell) is not None for cell in cells)


def _numbers(rows: Rows, name: str) -> npt.NDArray[np.float64]:
    numbers = [rows.number(cell) for cell in rows.columns[name]]
    if None in numbers:
        i = numbers.index(None)
        said = f"is {rows.columns[name][i]!r}, which is not a number" if rows.columns[name][i] else "is empty"
        raise rows.wrong(i, f"{name} {said}: give a number, or remove the line")
    return np.array(numbers, np.float64)

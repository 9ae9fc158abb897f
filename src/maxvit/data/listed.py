"""The images of a list and their labels, whatever the labels are."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maxvit.data.columns import ListColumns, find_members, find_split, other_columns, say_columns
from maxvit.data.dataset import LabelledImages, Labels
from maxvit.data.finding import Names, normal
from maxvit.data.rows import Rows


def listed_images(
    rows: Rows,
    columns: ListColumns,
    image: str,
    chosen: Sequence[str],
    names: Names,
    labels: Labels,
    class_names: list[str],
    are_classes: bool = True,
) -> dict[str, LabelledImages]:
    """The images of a list by part, with the labels that were read of its rows; those that do not exist are left out.

    Args:
        rows: The list.
        columns: What a person said of its columns.
        image: The column of the images.
        chosen: The columns of the labels.
        names: What finds the images.
        labels: One for each row, as of `LabelledImages`.
        class_names: Likewise.
        are_classes: Likewise.

    Raises:
        MaxViTError: If a row has no image, or one that was on another, or a part has no such name; or no image exists.
    """
    check_once(rows, image)
    cells = list(rows.columns[image])
    split = find_split(rows, {image, *chosen})
    members = find_members(rows, split)
    paths, missing = names.find_all(cells)
    _check_once_found(rows, paths)
    others = other_columns(rows, {image, *chosen, split})
    everything = LabelledImages(
        [path or rows.file.parent / name for path, name in zip(paths, cells, strict=True)],
        labels,
        class_names,
        cells,
        passed_over=missing,
        are_classes=are_classes,
        others=others,
        columns=say_columns(columns, image, chosen, split, others, names, "class" if are_classes else "target"),
    )
    there = {part: [i for i in found if paths[i] is not None] for part, found in members.items()}
    return {part: replace(everything.subset(found), part=part) for part, found in there.items() if found}


def check_once(rows: Rows, image: str) -> None:
    """Refuse a row without an image, and one that was on another row."""
    first: dict[str, int] = {}
    for i, name in enumerate(rows.columns[image]):
        if not name:
            raise rows.wrong(i, f"{image} is empty: give the name of an image, or remove the line")
        path = normal(os.path.normpath(rows.file.parent / name))
        if path in first:
            raise rows.wrong(i, f"{name} was on {rows.places[first[path]]} already: give each image once")
        first[path] = i


def _check_once_found(rows: Rows, paths: Sequence[Path | None]) -> None:
    """The same of the files, which two names may fit: with the ending and without."""
    first: dict[Path, int] = {}
    for i, path in enumerate(paths):
        if path is not None and path in first:
            raise rows.wrong(i, f"{path} was on {rows.places[first[path]]} already: give each image once")
        if path is not None:
            first[path] = i

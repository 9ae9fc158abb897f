"""A data set by its path or URL, whatever kind it is."""

from pathlib import Path
from typing import Literal

from maxvit.data.columns import GUESSED, ListColumns
from maxvit.data.dataset import LabelledImages, Splits, in_classes, part_to_evaluate
from maxvit.data.folder import find_parts, load_folder, read_classes, read_held_out
from maxvit.data.rows import KINDS
from maxvit.data.shards.index import FILE, is_index
from maxvit.data.shards.read import UNFINISHED, open_shards, read_shards
from maxvit.data.table import load_list, read_list


def load_images(path: str, val_fraction: float = 0.2, seed: int = 0, columns: ListColumns = GUESSED) -> Splits:
    """Read a folder of class folders, a list (.csv, .tsv, .parquet), or shards in a folder or at a URL.

    Args:
        path: What the user wrote.
        val_fraction: Share that is held out where a folder or a list has no `val` of its own; shards must have one.
        seed: Seed of that split.
        columns: Which columns of a list to read.

    Raises:
        MaxViTError: If it is none of these, or not as it should be, or columns are named of what is not a list.
    """
    kind = _kind_with(columns, path)
    if kind == "shards":
        return read_shards(path)
    if kind == "list":
        return load_list(Path(path), val_fraction, seed, columns)
    return load_folder(Path(path), val_fraction, seed)


def load_eval(path: str, class_names: list[str] | None, columns: ListColumns = GUESSED) -> LabelledImages:
    """The images to evaluate a model on, of a data set of any kind: test, else val; else all, of folder or list.

    Args:
        path: As `load_images` takes it.
        class_names: The classes that the model knows, which give the numbers of the labels; None: the data's.
        columns: As `load_images` takes them.

    Returns:
        Their `part` says which they are.

    Raises:
        MaxViTError: As `load_images`, or if the data has a class that the model lacks.
    """
    kind = _kind_with(columns, path)
    if kind == "shards":
        shards = read_shards(path, class_names)
        return shards.val if shards.test is None else shards.test
    if kind == "list":
        return in_classes(part_to_evaluate(read_list(Path(path), columns)), class_names, path)
    return read_held_out(Path(path), class_names)


def read_parts(path: str, columns: ListColumns = GUESSED) -> dict[str, LabelledImages]:
    """Every image of a data set of any kind, by the parts that it has itself: some of train, val, test; or all.

    Raises:
        MaxViTError: As `load_images`, but for parts that are not there.
    """
    kind = _kind_with(columns, path)
    if kind == "shards":
        return open_shards(path)
    if kind == "list":
        return read_list(Path(path), columns)
    folders = find_parts(Path(path))
    if not folders:
        return {"all": read_classes(Path(path))}
    first, *others = folders
    parts = {first: read_classes(folders[first], part=first)}
    known, whose = parts[first].class_names, str(folders[first])
    return parts | {part: read_classes(folders[part], known, part, whose) for part in others}


def _kind_with(columns: ListColumns, path: str) -> Literal["list", "shards", "files"]:
    """What a path leads to. Raises `MaxViTError` if columns are named, and it is not a list."""
    if (kind := kind_of(path)) != "list":
        columns.refuse(f"{path} is not a list, whose columns could be named")
    return kind


def kind_of(place: str | Path) -> Literal["list", "shards", "files"]:
    """What a path or URL leads to: a list, shards, or anything else: image files, a folder of them, or nothing."""
    path = Path(place)
    if "://" in str(place):
        return "shards"
    if not path.is_dir():
        return "list" if path.suffix.lower() in KINDS else "files"
    return "shards" if _holds_shards(path) else "files"


def _holds_shards(folder: Path) -> bool:
    """An index; or tar files without class folders, next to which tar files are leftovers of a download."""
    if is_index(folder / FILE) or (folder / UNFINISHED).is_file():
        return True
    folders = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return any(folder.glob("*.tar")) and not any(folders)

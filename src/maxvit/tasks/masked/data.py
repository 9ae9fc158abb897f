"""Images and nothing else: of any folder, a list, shards, or what needs no files."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from maxvit.data.builtin import is_builtin, read_builtin_parts
from maxvit.data.columns import ListColumns, find_image_column
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import Names, PassedOver, find_images, say_passed_over
from maxvit.data.images import EXTENSIONS
from maxvit.data.listed import listed_images
from maxvit.data.load import kind_of
from maxvit.data.parts import part_folders
from maxvit.data.rows import read_rows
from maxvit.data.shards.read import open_shards
from maxvit.errors import MaxViTError

_WANTED = "a column with the names of images is wanted, and perhaps split (train, val, test)"


def read_unlabelled(place: str, columns: ListColumns) -> dict[str, LabelledImages]:
    """Every image of a data set by part: some of "train", "val" and "test", or "all" where it has no parts.

    Args:
        place: A folder, flat or nested, whose parts are folders of their usual names, one of them for training; a list;
            shards, whose labels are not looked at; or `is_builtin`.
        columns: What a person said of the columns of a list: of the images alone.

    Raises:
        MaxViTError: If there are no images, a list is not as it should be, or columns are named that have no meaning.
    """
    if columns.labels:
        raise MaxViTError("masked learns from images alone: leave --label-column (data.label_column) out")
    if is_builtin(place):
        columns.refuse(f"{place} is not a list, whose columns could be named")
        return {part: _plain(images) for part, images in read_builtin_parts(place).items()}
    kind = kind_of(place)
    if kind == "list":
        rows, names = read_rows(Path(place), _WANTED), Names(Path(place))
        image = find_image_column(rows, columns, names)
        return listed_images(rows, columns, image, [], names, np.zeros(len(rows), np.float32), [], are_classes=False)
    columns.refuse(f"{place} is not a list, whose columns could be named")
    if kind == "shards":
        return {part: _plain(images) for part, images in open_shards(place).items()}
    return _read_folder(Path(place))


def _plain(images: LabelledImages) -> LabelledImages:
    """The same without labels."""
    return replace(images, labels=np.zeros(len(images), np.float32), class_names=[], are_classes=False)


def _read_folder(folder: Path) -> dict[str, LabelledImages]:
    if not folder.is_dir():
        raise MaxViTError(f"{folder} is a file: give a folder of images, a list or shards")
    parts = part_folders(folder)
    if "train" not in parts:
        return {"all": _images_below(folder, folder, "all")}
    found = {part: _images_below(folder, place, part) for part, place in parts.items()}
    others = [path for path in sorted(folder.iterdir()) if path not in parts.values() and not path.name.startswith(".")]
    beside = [PassedOver(path, "next to the parts") for path in others if _holds_images(path)]
    found["train"] = replace(found["train"], passed_over=[*found["train"].passed_over, *beside])
    return found


def _holds_images(path: Path) -> bool:
    return bool(find_images(path).images) if path.is_dir() else path.suffix.lower() in EXTENSIONS


def _images_below(whole: Path, folder: Path, part: str) -> LabelledImages:
    found = find_images(folder)
    if not found.images:
        raise MaxViTError(f"{folder} holds no images: fill it or name another{say_passed_over(found.passed_over)}")
    names = [str(path.relative_to(whole)) for path in found.images]
    labels = np.zeros(len(names), np.float32)
    return LabelledImages(found.images, labels, [], names, part=part, passed_over=found.passed_over, are_classes=False)

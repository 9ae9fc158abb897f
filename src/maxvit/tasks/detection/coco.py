"""A file of annotations in COCO's format: what is in it, looked at before it is used."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from maxvit.config import Size
from maxvit.data.dataset import LabelledImages, class_numbers, refuse_unknown
from maxvit.data.finding import locate, locate_all, normal
from maxvit.data.text import read_json
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.masks import is_numbers, read_segmentation
from maxvit.tasks.detection.objects import Ids, Objects
from maxvit.tasks.detection.shapes import Box, goes_beyond

logger = logging.getLogger(__name__)


def read_coco(
    file: Path, folders: Sequence[Path], with_masks: bool, class_names: Sequence[str] | None = None
) -> LabelledImages:
    """Read a file of annotations.

    Boxes are cut at the border of their image. Those without an area within it are left out, and counted in a warning;
    images without objects stay.

    Args:
        file: In COCO's format, of instances.
        folders: Folders that the names of its images may count from; the first that holds one of them is taken.
        with_masks: Whether masks are wanted; then each object needs one.
        class_names: Class names of a network; None: the file's, in the order of their ids.

    Raises:
        MaxViTError: If something is missing, refers to nothing or is not of its kind; it names file and id.
    """
    data = _load(file)
    images = _index(file, data, "images")
    categories = _index(file, data, "categories")
    names = _names(file, categories)
    per_image: dict[int, list[dict[str, Any]]] = {i: [] for i in images}
    for i, annotation in _index(file, data, "annotations").items():
        image, category = _whole(annotation.get("image_id")), _whole(annotation.get("category_id"))
        for kind, given, known in (("image", image, images), ("category", category, categories)):
            if given is None or given not in known:
                said = annotation.get(f"{kind}_id")
                raise MaxViTError(f"{file}: annotation {i} is of {kind} {said!r:.40}, which the file does not have")
        assert image is not None
        annotation["category_id"] = category
        per_image[image].append(annotation)
    _refuse_shares(file, per_image)
    used = {a["category_id"] for annotations in per_image.values() for a in annotations}
    if class_names is None:
        if groups := _groups(categories) - used:
            logger.warning("%s: no class: %s, a group of categories without objects", file, names[min(groups)])
        class_names = [name for i, name in names.items() if i not in groups]
    refuse_unknown([names[i] for i in sorted(used)], class_names, lambda name: f"{file}: category {name!r}")
    numbers = class_numbers(class_names)
    labels = {i: numbers[normal(names[i])] + 1 for i in used}
    category_ids = _ids(names, class_names)
    file_names = [_file_name(file, i, image) for i, image in images.items()]
    paths, missing = locate_all(_find_folder(folders, file_names), file_names, str(file))
    objects = [
        replace(
            _read_objects(file, name, _size(file, i, image), per_image[i], labels, with_masks), ids=Ids(i, category_ids)
        )
        for name, (i, image) in zip(file_names, images.items(), strict=True)
    ]
    if lost := sum(map(len, per_image.values())) - sum(len(found.labels) for found in objects):
        logger.warning("%s: %d objects are left out: they have no area within their image", file, lost)
    sizes = [found.size for found in objects]
    beyond = sum(
        goes_beyond(_corners(a["bbox"]), size) for size, i in zip(sizes, images, strict=True) for a in per_image[i]
    )
    if beyond:
        logger.warning(
            "%s: %d objects reach beyond their image and are cut at its border: bbox takes [x, y, width, height]",
            file,
            beyond,
        )
    there = [i for i, path in enumerate(paths) if path is not None]
    return LabelledImages(
        [path for path in paths if path is not None],
        [objects[i] for i in there],
        list(class_names),
        [file_names[i] for i in there],
        passed_over=missing,
    )


def _find_folder(folders: Sequence[Path], names: Sequence[str]) -> Path:
    """The first that holds any of the images; the first of all, where none does."""
    if len(folders) == 1:
        return folders[0]
    return next((folder for folder in folders if any(locate(folder, name) for name in names)), folders[0])


def _refuse_shares(file: Path, per_image: dict[int, list[dict[str, Any]]]) -> None:
    """Boxes as shares of their image would be taken for ones of a pixel."""
    boxes = [a["bbox"] for annotations in per_image.values() for a in annotations if is_numbers(a.get("bbox"))]
    if boxes and all(0 <= value <= 1 for box in boxes for value in box):
        raise MaxViTError(
            f"{file}: every bbox is within 0 to 1, such as {boxes[0]!r:.60}: bbox takes [x, y, width, height] in "
            "pixels; multiply x and width by the width of the image, y and height by its height"
        )


def _corners(box: list[float]) -> Box:
    """Left, top, right, bottom of [x, y, width, height]."""
    left, top, width, height = box
    return left, top, left + width, top + height


def _load(file: Path) -> dict[str, Any]:
    data = read_json(file)
    if not isinstance(data, dict):
        raise MaxViTError(f"{file} holds a {type(data).__name__}; COCO's format is an object with images, annotations")
    return data


def _index(file: Path, data: dict[str, Any], section: str) -> dict[int, dict[str, Any]]:
    """The entries of a section by their ids."""
    entries = data.get(section)
    if not isinstance(entries, list) or (section != "annotations" and not entries):
        what = "is empty" if entries == [] else "is missing" if entries is None else "is not a list"
        raise MaxViTError(f'{file}: "{section}" {what}; COCO\'s format has lists of images, annotations and categories')
    found: dict[int, dict[str, Any]] = {}
    for number, entry in enumerate(entries):
        i = _whole(entry.get("id")) if isinstance(entry, dict) else None
        if i is None or i in found:
            reason = "no integer as its id" if i is None else f"the id {i}, as another one has"
            raise MaxViTError(f'{file}: entry {number} of "{section}" has {reason}; give each an id of its own')
        found[i] = entry
    return found


def _whole(value: Any) -> int | None:
    """A number without a fraction, which some programs write as 1.0; None: it is something else."""
    if type(value) is float and value.is_integer():
        return int(value)
    return value if type(value) is int else None


def _names(file: Path, categories: dict[int, dict[str, Any]]) -> dict[int, str]:
    """Names of the categories by id, in the order of the ids."""
    names: dict[int, str] = {}
    for i, category in sorted(categories.items()):
        name = category.get("name")
        name = str(name) if type(name) is int else name  # digits
        if not isinstance(name, str) or not name:
            raise MaxViTError(f"{file}: category {i} has no name")
        names[i] = name
    twice = [name for name, number in Counter(names.values()).items() if number > 1]
    if twice:
        ids = [i for i, name in names.items() if name == twice[0]]
        raise MaxViTError(f"{file}: the categories {ids[0]} and {ids[1]} are both called {twice[0]!r}: rename one")
    return names


def _groups(categories: dict[int, dict[str, Any]]) -> set[int]:
    """Categories that stand for a group of others: Roboflow adds one, which no object is of."""
    of_category = {i: category.get("supercategory") for i, category in categories.items()}
    groups = [group for group in of_category.values() if group != "none"]
    return {i for i, group in of_category.items() if group == "none" and categories[i].get("name") in groups}


def _ids(names: dict[int, str], class_names: Sequence[str]) -> tuple[int, ...]:
    """The id of each class; those that the file lacks have ids above its own."""
    known = {normal(name): i for i, name in names.items()}
    further = count(max(names) + 1)
    return tuple(known[normal(name)] if normal(name) in known else next(further) for name in class_names)


def _file_name(file: Path, i: int, image: dict[str, Any]) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise MaxViTError(f"{file}: image {i} has no file_name")
    return name.replace("\\", "/")  # Label Studio on Windows


def _size(file: Path, i: int, image: dict[str, Any]) -> Size:
    height, width = _whole(image.get("height")), _whole(image.get("width"))
    if height is None or width is None or min(height, width) < 1:
        said = f"height {image.get('height')!r:.20} and width {image.get('width')!r:.20}"
        raise MaxViTError(f"{file}: image {i} has {said}; both are pixels")
    return height, width


def _read_objects(
    file: Path, name: str, size: Size, annotations: list[dict[str, Any]], labels: dict[int, int], with_masks: bool
) -> Objects:
    found, masks = [], []
    for annotation in annotations:
        box, i = annotation.get("bbox"), annotation["id"]
        if not is_numbers(box) or len(box) != 4:
            raise MaxViTError(f"{file}: annotation {i} has bbox {box!r:.60}; it takes [x, y, width, height] in pixels")
        left, top, width, height = box
        right, bottom = min(left + width, size[1]), min(top + height, size[0])
        left, top = max(left, 0), max(top, 0)
        crowd = annotation.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise MaxViTError(f"{file}: annotation {i} has iscrowd {crowd!r:.20}; it takes 0 or 1")
        if width <= 0 or height <= 0 or right <= left or bottom <= top:
            continue
        if with_masks:
            try:
                mask = read_segmentation(annotation.get("segmentation"), size)
            except MaxViTError as error:
                raise MaxViTError(f"{file}: annotation {i} {error}") from error
            if mask is None:
                continue
            masks.append(mask)
        area: Any = annotation.get("area")
        area = area if is_numbers([area]) and area > 0 else (right - left) * (bottom - top)
        found.append((left, top, right, bottom, labels[annotation["category_id"]], crowd, area))
    table = np.array(found, np.float64).reshape(-1, 7)
    return Objects(
        name,
        size,
        boxes=table[:, :4].astype(np.float32),
        labels=table[:, 4].astype(np.int64),
        crowd=table[:, 5].astype(np.bool_),
        areas=table[:, 6].copy(),
        masks=tuple(masks) if with_masks else None,
    )

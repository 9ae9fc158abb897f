"""YOLO's format: data.yaml names classes and parts, and each image has a text file with a row for each object."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from maxvit.config import Size
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import DAMAGED, MISSING, Found, PassedOver, find_images, locate
from maxvit.data.images import read_size
from maxvit.data.parts import PART_NAMES, part_folders
from maxvit.data.text import read_lines, read_text
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.layouts.layout import Layout, Read, begins
from maxvit.tasks.detection.shapes import Annotated, Shape, around, to_labelled

logger = logging.getLogger(__name__)
_DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NAMES = "classes.txt"  # Label Studio and LabelImg name the classes here, and have no data.yaml
_SIGN = re.compile(rb"^(names|train|val) *:", re.MULTILINE)
_ROUNDING = 1e-3  # by which a share may be beyond 0 to 1


def recognizes(path: Path) -> bool:
    """A data.yaml, or classes.txt next to images/ and labels/."""
    if path.is_file():
        return path.suffix.lower() in (".yaml", ".yml")
    return bool(_descriptions(path)) or _has_names_alone(path)


def find_parts(path: Path) -> dict[str, Read]:
    """See `Layout`. Raises `MaxViTError` if data.yaml cannot be read, or what it names does not exist."""
    if path.is_dir() and not _descriptions(path):
        return _find_folders(path)
    files = [path] if path.is_file() else _descriptions(path)
    if len(files) > 1:
        raise MaxViTError(f"there are {files[0]} and {files[1].name}: keep one of them, or give its path")
    file = files[0]
    said = _load(file)
    names = _read_names(file, said.get("names"))
    if "kpt_shape" in said:
        raise MaxViTError(f"{file} has kpt_shape: rows with keypoints are not read; export boxes or polygons")
    parts: dict[str, Read] = {}
    for part, keys in PART_NAMES.items():
        given = {key: said[key] for key in keys if said.get(key)}
        if len(given) > 1:
            raise MaxViTError(f"{file} has {' and '.join(given)}, both names of the {part} part: keep one")
        for key, value in given.items():
            places = _find_places(file, said.get("path"), key, value)
            parts[part] = partial(_read, f"{key} of {file}", places, names)
    if not parts:
        raise MaxViTError(f"{file} names no images: give train and val, such as train: images/train")
    return parts


def _descriptions(folder: Path) -> list[Path]:
    """Files of YAML that name classes or images: a data.yaml may be of another program."""
    return [folder / name for name in _DESCRIPTIONS if begins(folder / name, _SIGN)]


def _has_names_alone(folder: Path) -> bool:
    return (folder / _NAMES).is_file() and (folder / "images").is_dir() and (folder / "labels").is_dir()


def _find_folders(folder: Path) -> dict[str, Read]:
    """Without a data.yaml: images/train, images/val, ..., or images/ as a whole."""
    file = folder / _NAMES
    names = _read_names(file, [line.strip() for line in read_text(file).rstrip().splitlines()])
    parts = part_folders(folder / "images") or {"all": folder / "images"}
    return {part: partial(_read, str(place), [place], names) for part, place in parts.items()}


def _load(file: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(read_text(file))
    except yaml.YAMLError as error:
        raise MaxViTError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise MaxViTError(f"{file} holds a {type(said).__name__}; it takes names, train and val, a line each")
    return said


def _read_names(file: Path, given: Any) -> list[str]:
    """Names of the classes 0, 1, ..., from a list or from numbers and names."""
    if isinstance(given, Mapping):
        if sorted(given, key=str) != sorted(range(len(given)), key=str):
            raise MaxViTError(f"{file}: names has the numbers {list(given)!s:.60}; they are 0, 1, ... without a gap")
        given = [given[i] for i in range(len(given))]
    if not isinstance(given, list) or not given:
        raise MaxViTError(f"{file} has no names: give the classes in the order of their numbers, such as names: [cat]")
    names = [str(name) if type(name) is int else name for name in given]
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise MaxViTError(f"{file}: class {i} is called {name!r:.40}; a name is text: put it in quotes")
        if name in names[:i]:
            raise MaxViTError(f"{file}: the classes {names.index(name)} and {i} are both called {name!r}: rename one")
    return names


def _find_places(file: Path, root: Any, key: str, value: Any) -> list[Path]:
    """The folders, lists or images of a part."""
    values = value if isinstance(value, list) else [value]
    bases = [file.parent]
    if root is not None:
        bases.insert(0, file.parent / str(root))  # it may be absolute, and of another computer
    found = []
    for one in values:
        text = str(one)
        tried = [base / text for base in bases]
        if text.startswith("../"):  # Roboflow counts from a folder that is not there
            tried.append(file.parent / text.removeprefix("../"))
        place = next((place for place in tried if place.exists()), None)
        if place is None:
            raise MaxViTError(
                f"{file}: {key} is {text!r}, and {' and '.join(map(str, dict.fromkeys(tried)))} do not exist: correct "
                f"{key}, or path"
            )
        found.append(place)
    return found


def _read(
    where: str, places: Sequence[Path], names: Sequence[str], with_masks: bool, class_names: Sequence[str] | None
) -> LabelledImages:
    """A part."""
    found = [_find_images(where, place) for place in places]
    paths = [path for one in found for path in one.images]
    passed_over = [passed for one in found for passed in one.passed_over]
    files = [_labels_of(path) for path in paths]
    labelled = [locate(file.parent, file.name) for file in files]
    if paths and not any(labelled):
        raise MaxViTError(f"{where}: no image has a file of labels; {paths[0]} takes {files[0]}: put them there")
    base = os.path.commonpath([place if place.is_dir() else place.parent for place in places])
    annotated = []
    for path, file in zip(paths, labelled, strict=True):
        try:
            size = read_size(path)
        except MaxViTError:
            passed_over.append(PassedOver(path, DAMAGED))
            continue
        shapes = [] if file is None else list(_shapes(file, names, size))
        annotated.append(Annotated(path, os.path.relpath(path, base), size, shapes))
    if without := labelled.count(None):
        logger.warning("%s: %d images have no file of labels: they are taken as images without objects", where, without)
    return to_labelled(where, annotated, names, with_masks, class_names, passed_over)


def _find_images(where: str, place: Path) -> Found:
    """The images of a folder, or of a list."""
    if place.is_dir():
        found = find_images(place)
        labels = {_labels_of(path) for path in found.images}
        found.passed_over = [passed for passed in found.passed_over if passed.path.suffix != ".txt"]
        found.passed_over += [PassedOver(file, "without an image") for file in _labels_in(place) if file not in labels]
        return found
    if place.suffix.lower() != ".txt":
        raise MaxViTError(f"{where}: {place} is a file; give a folder of images, or a .txt file with an image a line")
    named = [(name, locate(place.parent, name)) for _, name in read_lines(place)]
    missing = [PassedOver(place.parent / name, MISSING) for name, path in named if path is None]
    return Found([path for _, path in named if path is not None], missing)


def _labels_in(images: Path) -> Iterator[Path]:
    """Files of labels for the images of a folder."""
    folder = _labels_of(images / "x").parent
    return (file for file in sorted(folder.rglob("*.txt")) if file.name != _NAMES) if folder.is_dir() else iter(())


def _labels_of(image: Path) -> Path:
    """labels/ where the path of the image has images/, else next to the image."""
    parts = list(image.parts)
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == "images":
            parts[i] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _shapes(file: Path, names: Sequence[str], size: Size) -> Iterator[Shape]:
    """The object of each row: a class, then a box (centre and sides) or a polygon, as shares of the image's sides."""
    height, width = size
    for line, text in read_lines(file):
        where = f"{file}, line {line}"
        label, values = _numbers(where, text)
        if label >= len(names):
            raise MaxViTError(f"{where} has the class {label}, and the {len(names)} names are 0 to {len(names) - 1}")
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise MaxViTError(
                f"{where} has {len(values) + 1} numbers; a row takes class, x, y, width, height, or class and a "
                "polygon x, y, x, y, x, y, ..."
            )
        if beyond := [value for value in values if not -_ROUNDING <= value <= 1 + _ROUNDING]:
            raise MaxViTError(
                f"{where} has {beyond[0]:.6g}; numbers are shares of the image's width or height, 0 to 1: divide "
                "pixels by it"
            )
        scaled = [value * side for value, side in zip(values, (width, height) * len(values), strict=False)]
        if len(values) == 4:
            x, y, w, h = scaled
            yield Shape(where, names[label], (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        else:
            yield Shape(where, names[label], around([scaled]), (scaled,))


def _numbers(where: str, text: str) -> tuple[int, list[float]]:
    """The class and the other numbers of a row."""
    try:
        label, *values = [float(word) for word in text.split()]
    except ValueError as error:
        raise MaxViTError(f"{where} is {text!r:.60}; a row takes numbers with spaces between them") from error
    if not label.is_integer() or label < 0:
        raise MaxViTError(f"{where} has the class {text.split()[0]}; it takes 0, 1, ...")
    return int(label), values


LAYOUT = Layout(
    "YOLO",
    "data.yaml with names, train and val, and labels/*.txt for images/*; or classes.txt, images/ and labels/",
    recognizes,
    find_parts,
)

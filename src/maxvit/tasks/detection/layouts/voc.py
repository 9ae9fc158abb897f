"""Pascal VOC's format: a file of XML for each image, in VOC's folders or next to the image."""

import re
from collections.abc import Sequence
from functools import cache, partial
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree

from maxvit.config import Size
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import MISSING, PassedOver, find_images, normal
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.layouts.layout import Layout, Read, glance
from maxvit.tasks.detection.layouts.pairs import Content, Pair, Parse, by_stem, find_beside, read_pairs
from maxvit.tasks.detection.shapes import Box, Shape
from maxvit.tasks.voc_lists import find_lists, read_stems

_SIGN = re.compile(rb"<annotation[\s>]")
_OBJECT = re.compile(r"<object[\s>]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_SAID = {"0": False, "false": False, "1": True, "true": True}


def recognizes(path: Path) -> bool:
    """Annotations/*.xml, or files of XML next to images."""
    return _is_devkit(path) or glance(path, ".xml", _SIGN)


def find_parts(path: Path) -> dict[str, Read]:
    """See `Layout`. Raises `MaxViTError` if there are no images, or a list of a part names none."""
    parse = cache(_parse)
    if not _is_devkit(path):
        return find_beside(path, ".xml", parse)
    images = path / "JPEGImages"
    if not images.is_dir():
        raise MaxViTError(f"{path} has Annotations, and no images: put them into {images}")
    parts = find_lists(path / "ImageSets" / "Main")
    every = [file for part in parts.values() for file in _annotations(path, part)]
    return {part: partial(_read_list, path, file, parse, every) for part, file in parts.items()}


def _is_devkit(path: Path) -> bool:
    return next((path / "Annotations").rglob("*.xml"), None) is not None


def _annotations(folder: Path, file: Path | None) -> list[Path]:
    """The files of annotations of a list, those that exist; None: all."""
    if file is None:
        return sorted((folder / "Annotations").rglob("*.xml"))
    places = [folder / "Annotations" / f"{stem}.xml" for stem in read_stems(file)]
    return [place for place in places if place.is_file()]


def _read_list(
    folder: Path,
    file: Path | None,
    parse: Parse,
    every: Sequence[Path],
    with_masks: bool,
    class_names: Sequence[str] | None,
) -> LabelledImages:
    """The images of a list; None: all."""
    found = find_images(folder / "JPEGImages")
    images = by_stem(found.images, folder / "JPEGImages")
    files = by_stem(_annotations(folder, file), folder / "Annotations")
    stems = sorted({*images, *files}) if file is None else [normal(stem) for stem in read_stems(file)]
    pairs = [Pair(images[stem], files.get(stem)) for stem in stems if stem in images]
    missing = [PassedOver(folder / "JPEGImages" / stem, MISSING) for stem in stems if stem not in images]
    passed_over = [*(found.passed_over if file is None else []), *missing]
    return read_pairs(folder / "JPEGImages", pairs, parse, every, with_masks, class_names, passed_over)


def _parse(file: Path) -> Content:
    try:
        text = file.read_bytes()
        root = ElementTree.fromstring(text)
    except OSError as error:
        raise MaxViTError(f"{file} cannot be read: {error.strerror}") from error
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise MaxViTError(f"{file} is not XML: {error}") from error
    if root.tag != "annotation":
        raise MaxViTError(f"{file} holds <{root.tag}>; VOC's format is <annotation> with <object>s")
    lines = _lines(text.decode("utf-8", "replace"))
    objects = root.findall("object")
    places = [f"{file}, line {line}" for line in lines] if len(lines) == len(objects) else [str(file)] * len(objects)
    return Content(_size(root), [_shape(where, found) for where, found in zip(places, objects, strict=True)])


def _lines(text: str) -> list[int]:
    """The line of each object."""
    return [text.count("\n", 0, found.start()) + 1 for found in _OBJECT.finditer(text)]


def _size(root: ElementTree.Element) -> Size | None:
    """None: the file does not say it, or says 0 as some programs do."""
    height, width = ((root.findtext(f"size/{side}") or "").strip() for side in ("height", "width"))
    return (int(height), int(width)) if height.isdecimal() and width.isdecimal() and int(height) * int(width) else None


def _shape(where: str, found: ElementTree.Element) -> Shape:
    name = (found.findtext("name") or "").strip()
    if not name:
        raise MaxViTError(f"{where}: an object has no name: give its class in <name>")
    difficult = (found.findtext("difficult") or "0").strip().lower()
    if difficult not in _SAID:
        raise MaxViTError(f"{where}: {name!r} has difficult {difficult!r:.20}; it takes 0 or 1")
    return Shape(where, name, _box(where, name, found), crowd=_SAID[difficult])


def _box(where: str, name: str, found: ElementTree.Element) -> Box:
    """VOC counts pixels from 1, and the last is within the box."""
    given = [found.findtext(f"bndbox/{corner}") for corner in _CORNERS]
    try:
        left, top, right, bottom = (float(text or "") for text in given)
    except ValueError:
        left = top = right = bottom = float("nan")
    if not all(map(isfinite, (left, top, right, bottom))):
        said = ", ".join(f"{corner} {text!r:.20}" for corner, text in zip(_CORNERS, given, strict=True))
        raise MaxViTError(f"{where}: {name!r} has a bndbox of {said}; it takes four numbers of pixels")
    return left - 1, top - 1, right, bottom


LAYOUT = Layout(
    "Pascal VOC",
    "Annotations/*.xml, JPEGImages/ and ImageSets/Main/train.txt (and val, test); or an .xml next to each image, in "
    "one folder or in train/, valid/, test/",
    recognizes,
    find_parts,
)

"""labelme's format: a file of JSON next to each image, with rectangles and polygons."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from maxvit.config import Size
from maxvit.data.text import read_json
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.layouts.layout import Layout, Read, glance
from maxvit.tasks.detection.layouts.pairs import Content, find_beside
from maxvit.tasks.detection.masks import is_numbers
from maxvit.tasks.detection.shapes import Polygon, Shape, around

_SIGN = re.compile(rb'"shapes"\s*:\s*\[')


def recognizes(path: Path) -> bool:
    """Files of JSON with shapes next to images."""
    return glance(path, ".json", _SIGN)


def find_parts(path: Path) -> dict[str, Read]:
    """See `Layout`. Raises `MaxViTError` if two folders are the same part, or a file is not of the format."""
    return find_beside(path, ".json", cache(_parse))


def _parse(file: Path) -> Content:
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("shapes"), list):
        raise MaxViTError(f'{file} has no list "shapes", which labelme\'s format has: move the file elsewhere')
    groups: dict[Any, list[tuple[str, str, Polygon]]] = {}
    for i, given in enumerate(data["shapes"]):
        where = f"{file}, shapes[{i}]"
        name, polygon = _read_shape(where, given)
        group = given.get("group_id")
        # parts of one object, which others cover in between, are a group
        groups.setdefault(i if group is None else (name, str(group)), []).append((where, name, polygon))
    shapes = [_join(parts) for parts in groups.values()]
    return Content(_size(data), shapes)


def _join(parts: list[tuple[str, str, Polygon]]) -> Shape:
    polygons = tuple(polygon for _, _, polygon in parts)
    where, name, _ = parts[0]
    return Shape(where, name, around(polygons), polygons)


def _size(data: dict[str, Any]) -> Size | None:
    height, width = data.get("imageHeight"), data.get("imageWidth")
    return (height, width) if type(height) is int and type(width) is int and min(height, width) > 0 else None


def _read_shape(where: str, given: Any) -> tuple[str, Polygon]:
    """The class and the polygon, of a rectangle its corners."""
    if not isinstance(given, dict) or not isinstance(given.get("label"), str) or not given["label"]:
        raise MaxViTError(f"{where} has no label: give its class")
    kind, points = given.get("shape_type") or "polygon", given.get("points")
    if kind not in ("polygon", "rectangle"):
        raise MaxViTError(f"{where} is a {kind!s:.40}; rectangles and polygons are read: redraw or remove it")
    least = 3 if kind == "polygon" else 2
    if not isinstance(points, list) or len(points) < least or any(not is_numbers(p) or len(p) != 2 for p in points):
        raise MaxViTError(f"{where} has points {points!r:.60}; a {kind} takes at least {least} points [x, y]")
    polygon: Polygon = [float(value) for point in points for value in point]
    if kind == "rectangle":
        left, top, right, bottom = around([polygon])
        polygon = [left, top, right, top, right, bottom, left, bottom]
    return given["label"], polygon


LAYOUT = Layout(
    "labelme",
    "a .json next to each image, in one folder or in train/, val/, test/",
    recognizes,
    find_parts,
)

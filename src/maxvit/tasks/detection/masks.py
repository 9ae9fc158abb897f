"""Masks of objects as COCO's run lengths: a few hundred bytes where the pixels of a hundred masks are a hundred MB."""

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from maxvit.config import Size
from maxvit.errors import MaxViTError, require

Pixels = npt.NDArray[np.uint8]
_FAR = 1e6  # pixels; a polygon is drawn edge by edge, and one that reaches further is a mistake


def coco_library() -> Any:
    """pycocotools, imported when it is wanted. Raises `MaxViTError` if it is not installed."""
    require("detection", "pycocotools")
    import pycocotools.cocoeval
    import pycocotools.mask

    return pycocotools


def encode(mask: Pixels) -> bytes:
    """Run lengths of a mask (H, W) of 0 and 1."""
    counts: bytes = coco_library().mask.encode(np.asfortranarray(mask))["counts"]
    return counts


def decode(masks: Sequence[bytes], size: Size) -> Pixels:
    """The pixels of masks of one size: (n, H, W) of 0 and 1."""
    if not masks:
        return np.zeros((0, *size), np.uint8)
    pixels = coco_library().mask.decode([as_coco(mask, size) for mask in masks])  # (H, W, n)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def area_of(mask: bytes, size: Size) -> int:
    """How many pixels of a mask are 1."""
    return int(coco_library().mask.area(as_coco(mask, size)))


def as_coco(mask: bytes, size: Size) -> dict[str, Any]:
    """As pycocotools takes it."""
    return {"size": list(size), "counts": mask}


def read_segmentation(value: Any, size: Size) -> bytes | None:
    """Run lengths of what stands under "segmentation" in a COCO file.

    Args:
        value: Polygons [[x, y, x, y, ...], ...], or run lengths {"size": [H, W], "counts": text or numbers}.
        size: Size of the image.

    Returns:
        None if there is no pixel in it, as in polygons of fewer than three points.

    Raises:
        MaxViTError: If it is anything else; the message goes on after the name of the object.
    """
    if isinstance(value, list) and value:
        found = _from_polygons(value, size)
    elif isinstance(value, dict):
        found = _from_runs(value, size)
    else:
        raise MaxViTError(
            "has no segmentation, and this detector learns masks: add one, or set task.detector to faster-rcnn or "
            "retinanet"
        )
    return None if found is None or area_of(found, size) == 0 else found


def _from_polygons(polygons: list[Any], size: Size) -> bytes | None:
    for polygon in polygons:
        if not is_numbers(polygon) or len(polygon) % 2 or np.abs(polygon).max(initial=0) > _FAR:
            raise MaxViTError(
                f"has a segmentation {polygon!r:.60}; a polygon is a list [x, y, x, y, ...] of numbers in pixels"
            )
    drawn = [polygon for polygon in polygons if len(polygon) >= 6]
    if not drawn:
        return None
    mask = coco_library().mask
    counts: bytes = mask.merge(mask.frPyObjects(drawn, *size))["counts"]
    return counts


def _from_runs(runs: dict[str, Any], size: Size) -> bytes:
    """pycocotools shows what happens to be in memory where run lengths do not add up, so they are looked at first."""
    given, said = runs.get("counts"), runs.get("size")
    if said != list(size):
        raise MaxViTError(f"has a segmentation of size {said!r:.40}, and its image has (height, width) {list(size)}")
    counts = _unpack(given) if isinstance(given, str) else given
    if not is_numbers(counts) or any(type(n) is not int or n < 0 for n in counts) or sum(counts) != size[0] * size[1]:
        raise MaxViTError(
            f"has a segmentation whose run lengths {given!r:.40} do not make a mask of {size[0]} x {size[1]} pixels"
        )
    found: bytes = coco_library().mask.frPyObjects({"size": list(size), "counts": counts}, *size)["counts"]
    return found


def _unpack(text: str) -> list[int] | None:
    """Run lengths from COCO's text, or None: five bits a letter, low ones first; from the third on, differences."""
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return None
        value, shift = value | (bits & 31) << shift, shift + 5
        if not bits & 32:  # the last letter of a number, whose highest bit is its sign
            value -= (bits & 16) << shift - 4
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    return None if shift else counts


def is_numbers(value: Any) -> TypeGuard[list[Any]]:
    """Whether it is a list of numbers that can be pixels, and nothing else."""
    return isinstance(value, list) and all(type(v) in (int, float) and -1e12 < v < 1e12 for v in value)

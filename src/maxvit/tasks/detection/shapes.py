"""Objects as annotation files give them, a shape each, and what the task makes of those."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maxvit.config import Size
from maxvit.data.dataset import LabelledImages, class_numbers, refuse_unknown
from maxvit.data.finding import PassedOver, normal, say_passed_over
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.masks import area_of, read_segmentation
from maxvit.tasks.detection.objects import Objects

logger = logging.getLogger(__name__)
SLACK = 2  # pixels that a box may be beyond its image without a warning
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
Polygon = list[float]  # x, y, x, y, ..., in pixels


@dataclass(frozen=True, slots=True)
class Shape:
    """One object.

    Attributes:
        where: Place in its file, for messages.
        name: Name of its class.
        box: Left, top, right, bottom in pixels, as the file says.
        polygons: What it consists of; none, if the file gives a box alone.
        crowd: Whether predictions are not blamed for it.
    """

    where: str
    name: str
    box: Box
    polygons: tuple[Polygon, ...] = ()
    crowd: bool = False


def around(polygons: Sequence[Polygon]) -> Box:
    """The smallest box around polygons."""
    xs = [x for polygon in polygons for x in polygon[::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image with its shapes.

    Attributes:
        path: The image.
        name: What to call it.
        size: (height, width) in pixels, upright.
        shapes: Its objects.
    """

    path: Path
    name: str
    size: Size
    shapes: Sequence[Shape]


def to_labelled(
    where: str,
    images: Sequence[Annotated],
    names: Sequence[str],
    with_masks: bool,
    class_names: Sequence[str] | None,
    passed_over: Sequence[PassedOver] = (),
) -> LabelledImages:
    """What the task learns from.

    Boxes are cut at the border of their image. Objects without an area are left out, and counted in a warning.

    Args:
        where: What to call the data in messages.
        images: The images.
        names: Classes of the data, in order.
        with_masks: Whether masks are wanted; then each object needs polygons.
        class_names: Class names of a network; None: the data's.
        passed_over: What was left out already.

    Raises:
        MaxViTError: If a box is outside its image, a mask is wanted and there are no polygons, a class is unknown to
            the network, or there is no image.
    """
    if not images:
        raise MaxViTError(f"{where} has no image that can be used: add some{say_passed_over(passed_over)}")
    used = {shape.name for image in images for shape in image.shapes}
    chosen = list(names if class_names is None else class_names)
    refuse_unknown([name for name in names if name in used], chosen, lambda name: f"{where}: {name!r}")
    numbers = class_numbers(chosen)
    labels = {name: numbers[normal(name)] + 1 for name in used}
    objects = [_to_objects(image, labels, with_masks) for image in images]
    if lost := sum(len(image.shapes) for image in images) - sum(len(found.labels) for found in objects):
        logger.warning("%s: %d objects are left out: they have no area", where, lost)
    if cut := sum(goes_beyond(shape.box, image.size) for image in images for shape in image.shapes):
        logger.warning("%s: %d objects reach beyond their image and are cut at its border", where, cut)
    return LabelledImages(
        [image.path for image in images], objects, chosen, [image.name for image in images], passed_over=passed_over
    )


def _to_objects(image: Annotated, labels: dict[str, int], with_masks: bool) -> Objects:
    rows, masks = [], []
    height, width = image.size
    for shape in image.shapes:
        left, top, right, bottom = shape.box
        if right <= left or bottom <= top:
            continue
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            box = ", ".join(f"{value:.6g}" for value in shape.box)
            raise MaxViTError(
                f"{shape.where}: the box {box} (left, top, right, bottom) is outside {image.path.name} of {height} x "
                f"{width} pixels (height x width): correct it or remove it"
            )
        left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
        area = (right - left) * (bottom - top)
        if with_masks:
            mask = _mask(shape, image.size)
            if mask is None:
                continue
            masks.append(mask)
            area = area_of(mask, image.size)
        rows.append((left, top, right, bottom, labels[shape.name], shape.crowd, area))
    table = np.array(rows, np.float64).reshape(-1, 7)
    return Objects(
        image.name,
        image.size,
        boxes=table[:, :4].astype(np.float32),
        labels=table[:, 4].astype(np.int64),
        crowd=table[:, 5].astype(np.bool_),
        areas=table[:, 6].copy(),
        masks=tuple(masks) if with_masks else None,
    )


def _mask(shape: Shape, size: Size) -> bytes | None:
    """None: it has no pixel."""
    if not shape.polygons:
        raise MaxViTError(
            f"{shape.where} is a box without a polygon, and this detector learns masks: add one, or set task.detector "
            "to faster-rcnn or retinanet"
        )
    try:
        return read_segmentation(list(shape.polygons), size)
    except MaxViTError as error:
        raise MaxViTError(f"{shape.where} {error}") from error


def goes_beyond(box: Box, size: Size) -> bool:
    """By more than inaccurate drawing makes it."""
    left, top, right, bottom = box
    return left < -SLACK or top < -SLACK or right > size[1] + SLACK or bottom > size[0] + SLACK

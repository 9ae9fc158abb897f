"""Boxes with their names, and masks as a tint, drawn over an image."""

import colorsys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from maxvit.tasks.detection.masks import decode
from maxvit.tasks.protocols import Predicted

Colour = tuple[int, int, int]
_TINT = 0.45  # share of the colour where a mask is


def draw_objects(image: Image.Image, objects: Predicted, names: Sequence[str]) -> Image.Image:
    """Draw boxes and masks, the first object on top.

    Args:
        image: RGB.
        objects: "boxes" (n, 4), "labels" (n,) and perhaps "rle", in the pixels of the image.
        names: What to write at each box.

    Returns:
        A new image of the same size. Lines and letters grow with it.
    """
    drawn = image.convert("RGB")
    colours = [colour_of(label) for label in objects["labels"].tolist()]
    if objects.get("rle"):
        drawn = _tint(drawn, objects, colours)
    pen = ImageDraw.Draw(drawn)
    line = max(1, round(min(drawn.size) / 200))
    font = ImageFont.load_default(max(9, round(min(drawn.size) / 32)))
    for box, colour, name in reversed(list(zip(objects["boxes"].tolist(), colours, names, strict=True))):
        left, top, right, bottom = (round(v) for v in box)
        corner = max(right - 1, left), max(bottom - 1, top)  # Pillow draws the last row and column too
        pen.rectangle(((left, top), corner), outline=colour, width=line)
        _write(pen, (left, top), name, colour, font, drawn.size)
    return drawn


def _tint(image: Image.Image, objects: Predicted, colours: list[Colour]) -> Image.Image:
    """One mask at a time, so that a hundred need no more memory than one."""
    pixels = np.array(image, np.float32)
    for mask, colour in zip(reversed(objects["rle"]), reversed(colours), strict=True):
        where = decode([mask["counts"]], mask["size"])[0].astype(bool)
        pixels[where] = (1 - _TINT) * pixels[where] + _TINT * np.array(colour, np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _write(
    pen: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """On a ground of the colour, above the box where there is room, else within it; never beyond the image."""
    *_, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = round(right) + 2, round(bottom) + 2
    x = max(0, min(at[0], size[0] - width))
    y = at[1] - height if at[1] >= height else at[1]
    y = max(0, min(y, size[1] - height))
    pen.rectangle(((x, y), (x + width, y + height)), fill=colour)
    brightness = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    pen.text((x + 1, y), text, fill="black" if brightness > 140 else "white", font=font)


def colour_of(label: int) -> Colour:
    """The colour of a class: neighbours are far apart on the circle of hues."""
    hue = (label * 0.618034) % 1.0  # the golden ratio: no two of a few labels are near
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)

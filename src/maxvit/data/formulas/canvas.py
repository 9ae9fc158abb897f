"""What all families share: where a drawing stands, how lines become pixels, and which colours they get."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Random = np.random.Generator
Floats = npt.NDArray[np.floating[Any]]
Pixels = npt.NDArray[np.uint8]
Shape = tuple[Floats, float, bool]  # points (n, 2) as x and y, tone in 0..1, filled or a line

FINER = 2  # times as many pixels a side while lines are drawn
NEAREST = 0.35  # of two colours, as a distance in the cube of side 1


@dataclass(frozen=True, slots=True)
class Ink:
    """A drawing without colours.

    Attributes:
        amount: (H, W), 0 where the background is seen and 1 where it is covered.
        tone: (H, W) in 0..1, from the one colour to the other.
    """

    amount: Floats
    tone: Floats


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours (3,) in 0..1: of the background, and the two ends of the tones."""

    background: Floats
    colours: tuple[Floats, Floats]


def place(points: Floats, random: Random, size: int, turn: float = 0.4) -> Floats:
    """Points (..., 2) around 0, most of them within 1, to pixels: turned, stretched, made smaller and moved.

    Args:
        points: x and y.
        random: Where from.
        size: Pixels a side.
        turn: Largest angle, in radians.
    """
    angle = random.uniform(-turn, turn)
    cos, sin = np.cos(angle), np.sin(angle)
    stretch = np.exp(random.uniform(-0.2, 0.2))
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.diag([stretch, 1 / stretch])
    half = size / 2
    scale = half * random.uniform(0.5, 1)
    room = half - scale
    centre = half + random.uniform(-room, room, 2) + random.normal(0, 0.03 * size, 2)
    return (points @ (matrix.T * scale) + centre).astype(np.float32)


def draw_shapes(shapes: Iterable[Shape], size: int, width: float) -> Ink:
    """Polygons and lines one over the other, smoothed at their edges.

    Args:
        shapes: In pixels.
        size: Pixels a side.
        width: Width of lines, in pixels.
    """
    image = Image.new("RGB", (size * FINER, size * FINER))
    pen = ImageDraw.Draw(image)
    thick = max(1, round(width * FINER))
    for points, tone, filled in shapes:
        colour = (255, round(255 * tone), 0)
        corners = (points * FINER).ravel().tolist()
        if filled:
            pen.polygon(corners, fill=colour)
        else:
            pen.line(corners, fill=colour, width=thick, joint="curve" if thick > 2 else None)
    both = np.asarray(image.reduce(FINER), np.float32)[..., :2] / 255
    amount = both[..., 0]
    return Ink(amount, both[..., 1] / np.maximum(amount, 1e-3))


def draw_palette(random: Random) -> Palette:
    """Three colours, the background far enough from the others to be told from them; often greys."""
    grey = random.random() < 0.3
    while True:
        colours = random.random((3, 1 if grey else 3), dtype=np.float32)
        if random.random() < 0.4:
            colours[0] = round(random.random())  # black or white, as in most pictures of one thing
        background, *others = np.broadcast_to(colours, (3, 3))
        if min(float(np.abs(background - colour).max()) for colour in others) > NEAREST:
            return Palette(background, (others[0], others[1]))


def vary(palette: Palette, random: Random) -> Palette:
    """Nearly the same colours."""
    change = random.normal(0, 0.06, (3, 3)).astype(np.float32)
    first, second = palette.colours
    return Palette(palette.background + change[0], (first + change[1], second + change[2]))


def paint(ink: Ink, palette: Palette, random: Random) -> Pixels:
    """Colours on a background that is even, changes from one side to the other, or has waves; at times coarse or noisy.

    Returns:
        (H, W, 3).
    """
    size = len(ink.amount)
    across = np.linspace(-1, 1, size, dtype=np.float32)
    background = palette.background
    if random.random() < 0.4:
        slope = random.normal(0, 0.15, (2, 3)).astype(np.float32)
        background = background + across[:, None, None] * slope[0] + across[None, :, None] * slope[1]
    if random.random() < 0.2:
        down, right, begin = random.uniform(-12, 12, 3)
        wave = np.sin(down * across[:, None] + right * across + begin).astype(np.float32)
        background = background + wave[..., None] * random.normal(0, 0.12, 3).astype(np.float32)
    first, second = palette.colours
    colour = first + ink.tone[..., None] * (second - first)
    pixels = background + ink.amount[..., None] * (colour - background)
    if random.random() < 0.3:
        pixels = pixels + random.normal(0, random.uniform(0, 0.08), pixels.shape)
    drawn = np.clip(pixels * 255, 0, 255).astype(np.uint8)
    if random.random() < 0.25:
        coarse = int(size * random.uniform(0.25, 0.7))
        small = Image.fromarray(drawn).resize((coarse, coarse), Image.Resampling.BOX)
        drawn = np.asarray(small.resize((size, size), Image.Resampling.BICUBIC))
    return drawn

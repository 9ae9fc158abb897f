"""Textures: distances to the nearest of scattered points (cellular noise, Worley 1996), which fill the image."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from maxvit.data.formulas.canvas import Ink, Random


@dataclass(frozen=True, slots=True)
class Cells:
    """How many points, how distances are counted, and what is seen of them."""

    points: int
    power: Literal[1, 2, 8]
    stretch: float
    angle: float
    seen: Literal["nearest", "rim", "difference"]
    sharpness: float


def sample(random: Random) -> Cells:
    """Draw a class."""
    return Cells(
        points=int(np.exp(random.uniform(np.log(4), np.log(24)))),
        power=random.choice([1, 2, 8]),
        stretch=float(np.exp(random.uniform(-1, 1))),
        angle=float(random.uniform(0, np.pi)),
        seen=random.choice(["nearest", "rim", "difference"]),
        sharpness=float(random.choice([2, 6, 20])),
    )


def draw(cells: Cells, random: Random, size: int) -> Ink:
    """Draw an image of it: other points, about as many."""
    number = max(3, round(cells.points * np.exp(random.normal(0, 0.1))))
    across = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    grid = np.stack(np.meshgrid(across, across), -1).reshape(-1, 1, 2)
    angle = cells.angle + random.normal(0, 0.15)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    turn *= np.array([[cells.stretch], [1 / cells.stretch]], np.float32) ** 0.5
    apart = np.abs((grid - random.uniform(-0.6, 0.6, (number, 2)).astype(np.float32)) @ turn.T)
    if cells.power == 8:
        distance = apart.max(-1)
    else:
        distance = apart.sum(-1) if cells.power == 1 else np.hypot(apart[..., 0], apart[..., 1])
    first, second = np.partition(distance, 1, axis=1)[:, :2].T * number**0.5
    if cells.seen == "nearest":
        height = first - 0.45
    elif cells.seen == "rim":
        height = second - first - 0.2
    else:
        height = first / np.maximum(second, 1e-6) - 0.6
    tone = (1 / (1 + np.exp(-cells.sharpness * height))).astype(np.float32).reshape(size, size)
    return Ink(tone, tone)

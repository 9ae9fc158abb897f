"""Radial contours: nested closed lines around a centre (arXiv 2206.09132), with corners or without."""

from dataclasses import dataclass

import numpy as np

from maxvit.data.formulas.canvas import Floats, Ink, Random, draw_shapes, place


@dataclass(frozen=True, slots=True)
class Contour:
    """Radii of the corners (n,), how many lines, from where to where, and how rough they are."""

    radii: Floats
    smooth: bool
    lines: int
    innermost: float
    twist: float
    roughness: float


def sample(random: Random) -> Contour:
    """Draw a class."""
    corners = int(random.integers(3, 13))
    return Contour(
        radii=random.uniform(0.35, 1, corners).astype(np.float32),
        smooth=bool(random.random() < 0.5),
        lines=int(random.integers(1, 9)),
        innermost=float(random.uniform(0.1, 0.7)),
        twist=float(random.uniform(-1, 1)),
        roughness=float(random.choice([0, 0.03, 0.08])),
    )


def draw(contour: Contour, random: Random, size: int) -> Ink:
    """Draw an image of it: other radii, other roughness, another place."""
    radii = contour.radii * np.exp(random.normal(0, 0.06, len(contour.radii)))
    angles = np.linspace(0, 2 * np.pi, 61)
    position = angles * len(radii) / (2 * np.pi)
    low, share = np.floor(position).astype(int), position % 1
    share = (1 - np.cos(np.pi * share)) / 2 if contour.smooth else share
    radius = radii[low % len(radii)] * (1 - share) + radii[(low + 1) % len(radii)] * share
    scales = np.linspace(1, contour.innermost, contour.lines)
    rough = 1 + contour.roughness * random.normal(size=(contour.lines, len(angles)))
    rough[:, -1] = rough[:, 0]
    turned = angles + contour.twist * (1 - scales[:, None])
    lengths = scales[:, None] * radius * rough
    points = np.stack([lengths * np.cos(turned), lengths * np.sin(turned)], axis=-1)
    pixels = place(points, random, size)
    width = size * random.uniform(0.02, 0.06)
    tones = np.linspace(0, 1, contour.lines)
    return draw_shapes([(p, float(t), False) for p, t in zip(pixels, tones, strict=True)], size, width)

"""Visual atoms: discs in one another, whose rims are sums of two waves (arXiv 2303.01112)."""

from dataclasses import dataclass

import numpy as np

from maxvit.data.formulas.canvas import Floats, Ink, Random, draw_shapes, place


@dataclass(frozen=True, slots=True)
class Atom:
    """Two waves along the rim: how many periods, how high, where they begin; and the discs."""

    periods: Floats
    heights: Floats
    phases: Floats
    discs: int
    innermost: float
    filled: bool


def sample(random: Random) -> Atom:
    """Draw a class."""
    periods = random.integers(1, 13, 2).astype(np.float32)
    return Atom(
        periods=periods,
        heights=(random.uniform(0.1, 0.5, 2) / np.sqrt(periods)).astype(np.float32),
        phases=random.uniform(0, 2 * np.pi, 2).astype(np.float32),
        discs=int(random.integers(1, 6)),
        innermost=float(random.uniform(0.15, 0.6)),
        filled=bool(random.random() < 0.7),
    )


def draw(atom: Atom, random: Random, size: int) -> Ink:
    """Draw an image of it: waves a little higher or lower, another place."""
    angles = np.linspace(0, 2 * np.pi, 81)
    heights = atom.heights * np.exp(random.normal(0, 0.15, 2))
    phases = atom.phases + random.normal(0, 0.15, 2)
    radius = 0.8 + (heights[:, None] * np.sin(atom.periods[:, None] * angles + phases[:, None])).sum(0)
    scales = np.linspace(1, atom.innermost, atom.discs)
    points = radius[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    pixels = place(scales[:, None, None] * points, random, size)
    tones = [i % 2 for i in range(atom.discs)] if atom.filled else list(np.linspace(0, 1, atom.discs))
    shapes = [(p, float(tone), atom.filled) for p, tone in zip(pixels, tones, strict=True)]
    return draw_shapes(shapes, size, size * random.uniform(0.02, 0.07))

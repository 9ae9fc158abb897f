"""Textures: plane waves bent by one another, which fill the image (after arXiv 2211.16412)."""

from dataclasses import dataclass

import numpy as np

from maxvit.data.formulas.canvas import Floats, Ink, Random


@dataclass(frozen=True, slots=True)
class Waves:
    """Periods across the image (n, 2), weights (n,), those that bend them, and how sharp the steps are."""

    periods: Floats
    weights: Floats
    bending: Floats
    bent_by: float
    sharpness: float


def sample(random: Random) -> Waves:
    """Draw a class."""
    number = int(random.integers(1, 4))
    angles, lengths = random.uniform(0, np.pi, number + 1), np.exp(random.uniform(0, np.log(8), number + 1))
    periods = (lengths * np.stack([np.cos(angles), np.sin(angles)])).T
    return Waves(
        periods=periods[:number].astype(np.float32),
        weights=random.uniform(0.4, 1, number).astype(np.float32),
        bending=(periods[number] / 2).astype(np.float32),
        bent_by=float(random.choice([0, 1, 2.5])),
        sharpness=float(random.choice([1, 3, 12])),
    )


def draw(waves: Waves, random: Random, size: int) -> Ink:
    """Draw an image of it: moved, a little turned and stretched."""
    across = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    angle, scale = random.normal(0, 0.15), np.exp(random.normal(0, 0.12))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    x = (cos * across[None, :] - sin * across[:, None]) * (2 * np.pi)
    y = (sin * across[None, :] + cos * across[:, None]) * (2 * np.pi)
    phases = random.uniform(0, 2 * np.pi, len(waves.weights) + 1)
    bend = 0.0
    if waves.bent_by:
        bend = waves.bent_by * np.sin(waves.bending[0] * x + waves.bending[1] * y + phases[-1])
    height = np.zeros((size, size), np.float32)
    for (p, q), weight, phase in zip(waves.periods, waves.weights, phases, strict=False):
        height += weight * np.sin(p * x + q * y + bend + phase)
    tone = 1 / (1 + np.exp(-waves.sharpness * height))
    return Ink(tone.astype(np.float32), tone.astype(np.float32))

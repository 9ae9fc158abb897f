"""Fractals: what a few affine maps leave in place (arXiv 2101.08515), and one of them perturbed (2408.00677)."""

from dataclasses import dataclass, replace

import numpy as np

from maxvit.data.formulas.canvas import Floats, Ink, Random, place

WALKERS, STEPS, SKIPPED = 192, 26, 6


@dataclass(frozen=True, slots=True)
class Fractal:
    """Maps x -> A x + b: matrices (n, 2, 2), shifts (n, 2), and how often each is taken (n,)."""

    matrices: Floats
    shifts: Floats
    shares: Floats


def sample(random: Random) -> Fractal:
    """Draw a class; the singular values are such that the points fill a part of the plane (arXiv 2110.03091)."""
    number = int(random.integers(2, 6))
    wanted = random.uniform(5 + number, 6 + number) / 2  # sum of the larger and twice the smaller singular values
    large = random.uniform(0.4, 1, number)
    small = large * random.uniform(0.3, 1, number)
    factor = wanted / (large + 2 * small).sum()
    large, small = np.minimum(large * factor, 0.95), np.minimum(small * factor, 0.9)
    turns, signs = _rotation(random.uniform(0, 2 * np.pi, (2, number))), random.choice([-1, 1], (number, 2))
    diagonal = np.zeros((number, 2, 2))
    diagonal[:, 0, 0], diagonal[:, 1, 1] = large * signs[:, 0], small * signs[:, 1]
    matrices = turns[0] @ diagonal @ turns[1]
    return _fractal(matrices, random.uniform(-1, 1, (number, 2)))


_ONE = np.array([[[0.55, 0.2], [-0.2, 0.55]], [[0.6, -0.15], [0.15, 0.5]], [[0.45, 0.1], [0.2, 0.6]]])


def sample_perturbed(random: Random) -> Fractal:
    """Draw a class: always the same fractal, each time changed."""
    shifts = np.array([[-0.6, -0.4], [0.6, -0.3], [0.0, 0.7]])
    return _fractal(_ONE + random.uniform(-0.3, 0.3, _ONE.shape), shifts + random.uniform(-0.3, 0.3, shifts.shape))


def _fractal(matrices: Floats, shifts: Floats) -> Fractal:
    shares = np.abs(np.linalg.det(matrices)) + 0.02
    largest = np.linalg.norm(matrices, 2, axis=(1, 2))
    matrices = matrices * np.minimum(1, 0.95 / largest)[:, None, None]
    return Fractal(matrices.astype(np.float32), shifts.astype(np.float32), (shares / shares.sum()).astype(np.float32))


def _rotation(angles: Floats) -> Floats:
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def draw(fractal: Fractal, random: Random, size: int) -> Ink:
    """Draw an image of it: a little perturbed, at another place; the tone says which map came last."""
    number = len(fractal.shares)
    change = random.normal(0, 0.03, (number, 3, 2)).astype(np.float32)
    fractal = replace(fractal, matrices=fractal.matrices + change[:, :2], shifts=fractal.shifts + change[:, 2])
    choice = np.searchsorted(np.cumsum(fractal.shares), random.random((STEPS, WALKERS), dtype=np.float32))
    choice = np.minimum(choice, number - 1)
    a, b, c, d = fractal.matrices.reshape(number, 4).T[:, choice]  # (STEPS, WALKERS) each
    e, f = fractal.shifts.T[:, choice]
    x, y = random.uniform(-0.5, 0.5, (2, WALKERS)).astype(np.float32)
    path = np.empty((STEPS, WALKERS, 2), np.float32)
    for step in range(STEPS):
        x, y = a[step] * x + b[step] * y + e[step], c[step] * x + d[step] * y + f[step]
        path[step, :, 0], path[step, :, 1] = x, y
    points, last = path[SKIPPED:].reshape(-1, 2), choice[SKIPPED:].ravel()
    low, high = np.quantile(points[::4], (0.02, 0.98), axis=0)
    points = (points - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-3)
    pixels = place(points, random, size).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < size)).all(1)
    at = pixels[inside] @ np.array([1, size])
    count = np.bincount(at, minlength=size * size).astype(np.float32)
    tone = np.bincount(at, last[inside] / (number - 1), size * size) / np.maximum(count, 1)
    full = random.uniform(0.3, 1.5) * len(at) / max(1, int((count > 0).sum()))
    amount = np.minimum(count / full, 1).astype(np.float32)
    return Ink(amount.reshape(size, size), tone.astype(np.float32).reshape(size, size))

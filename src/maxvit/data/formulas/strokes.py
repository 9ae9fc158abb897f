"""Strokes: a few curves (cubic Bezier) as of a pen, which a class puts together to a sign."""

from dataclasses import dataclass

import numpy as np

from maxvit.data.formulas.canvas import Floats, Ink, Random, draw_shapes, place

_T = np.linspace(0, 1, 13)[:, None]
_BERNSTEIN = np.hstack([(1 - _T) ** 3, 3 * _T * (1 - _T) ** 2, 3 * _T**2 * (1 - _T), _T**3])  # (13, 4)


@dataclass(frozen=True, slots=True)
class Sign:
    """The control points of its strokes (n, 4, 2)."""

    strokes: Floats


def sample(random: Random) -> Sign:
    """Draw a class: strokes that begin where another ends, or elsewhere; some straight."""
    strokes: list[Floats] = []
    for _ in range(int(random.integers(2, 6))):
        stroke = random.uniform(-0.9, 0.9, (4, 2))
        if strokes and random.random() < 0.5:
            stroke[0] = strokes[-1][-1]
        if random.random() < 0.35:
            stroke[1:3] = stroke[0] + (stroke[3] - stroke[0]) * np.array([[1 / 3], [2 / 3]])
        strokes.append(stroke.astype(np.float32))
    return Sign(np.stack(strokes))


def draw(sign: Sign, random: Random, size: int) -> Ink:
    """Draw an image of it, in another hand."""
    control = sign.strokes + random.normal(0, 0.06, sign.strokes.shape)
    points = place(_BERNSTEIN @ control, random, size, turn=0.25)  # (n, 13, 2)
    width = size * random.uniform(0.03, 0.13)
    tones = np.linspace(0, 1, len(points)) if random.random() < 0.3 else np.zeros(len(points))
    return draw_shapes([(p, float(t), False) for p, t in zip(points, tones, strict=True)], size, width)

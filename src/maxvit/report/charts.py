"""Lines over epochs and predictions beside targets: geometry and labels, which the report's template draws as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10
from typing import Literal

import numpy as np

from maxvit.tasks.panels import Scatter

Best = Literal["lowest", "highest"]
_MOST_DOTS = 2000  # more would be a cloud without shape, and a large page
NOTHING = "–"  # in place of a number that there is not


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity over the epochs.

    Attributes:
        label: What the legend says.
        tone: CSS class that gives colour and dash.
        path: SVG path in a box of 100 x 100 with y downwards; it breaks where a value is missing.
        dots: SVG path of zero-length strokes: points with no neighbour, which a line would not show.
        last: The value of the last epoch that has one.
        best: "highest 98.3 %, epoch 47", or "" where neither end is the better one.
    """

    label: str
    tone: str
    path: str
    dots: str
    last: str
    best: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. Ticks are (position in percent of the side, label), x from the left and y from the top."""

    title: str
    lines: list[Line]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    points: list[dict[str, float | str]]  # what the pointer shows: x in percent, text


@dataclass(frozen=True, slots=True)
class ScatterChart:
    """Predictions, upwards, beside targets, to the right; both axes have the same ends.

    Attributes:
        title: What is predicted.
        dots: SVG path of zero-length strokes in a box of 100 x 100 with y downwards.
        ticks: (position in percent from the low end, label), for both axes.
        shown: How many predictions have a dot.
    """

    title: str
    dots: str
    ticks: list[tuple[float, str]]
    shown: int


def scatter_chart(scatter: Scatter) -> ScatterChart | None:
    """Lay out one chart, in which at most 2000 predictions have a dot; None: there is nothing finite to show."""
    pairs = np.stack([scatter.targets, scatter.predictions], 1)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if not len(pairs):
        return None
    pairs = pairs[:: -(-len(pairs) // _MOST_DOTS)]
    low, high = float(pairs.min()), float(pairs.max())
    ticks = _ticks(low, high if high > low else low + 1, 5)
    places = (100 * (pairs - ticks[0]) / (ticks[-1] - ticks[0])).tolist()
    dots = "".join(f"M{x:.2f},{100 - y:.2f}h0" for x, y in places)
    labels = [(100 * (t - ticks[0]) / (ticks[-1] - ticks[0]), number(t)) for t in ticks]
    return ScatterChart(scatter.name, dots, labels, len(places))


def finite(value: float | None) -> float | None:
    """The value, or None if there is none to show: missing, NaN or infinite."""
    return value if value is not None and isfinite(value) else None


def number(value: float) -> str:
    """Four significant digits, with a short exponent: 0.0123, 1.5e-5."""
    return f"{value:.4g}".replace("e-0", "e-").replace("e+0", "e+")


def percent(value: float) -> str:
    """A share as percent with one decimal: 0.9722 is "97.2 %", held together by a no-break space."""
    return f"{100 * value:.1f}\u00a0%"


def line_chart(
    title: str,
    history: Sequence[Mapping[str, float]],
    series: Mapping[str, tuple[str, str]],
    best: Best | None = None,
    shares: bool = False,
    steps: int = 5,
) -> Chart | None:
    """Lay out one chart.

    Args:
        title: Its heading.
        history: A row an epoch. A key that is missing, NaN or infinite leaves a gap; without "epoch" rows count from 1.
        series: Key in the history to (legend label, CSS class).
        best: Which end of the values the legend names, if any.
        shares: Values are shares, 0 to 1, written in percent; the axis then starts near the smallest instead of 0.
        steps: About how many steps the upright axis has.

    Returns:
        The chart, or None if no row holds any of the quantities.
    """
    epochs = [row.get("epoch", i) for i, row in enumerate(history, 1)]
    columns = {key: [finite(row.get(key)) for row in history] for key in series}
    known = [v for column in columns.values() for v in column if v is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    if not shares or high - low < 1e-9:  # a span that rounding made has no room for ticks
        low, high = min(0.0, low), max(0.0, high)
    y_ticks = _ticks(low, high if high > low else low + 1, steps)
    bottom, top = y_ticks[0], y_ticks[-1]
    first, last = min(epochs), max(epochs)
    xs = [100 * (e - first) / (last - first) if last > first else 50.0 for e in epochs]
    x_ticks = [t for t in _ticks(first, last, 5, whole=True) if first <= t <= last] if last > first else [first]

    write = percent if shares else number
    lines = []
    for key, (label, tone) in series.items():
        values = columns[key]
        if all(v is None for v in values):
            continue
        path, dots = _path(xs, [None if v is None else 100 * (top - v) / (top - bottom) for v in values])
        have = [(v, e) for v, e in zip(values, epochs, strict=True) if v is not None]
        end = ""
        if best:
            value, epoch = (min if best == "lowest" else max)(have, key=lambda pair: pair[0])
            end = f"{best} {write(value)}, epoch {number(epoch)}"
        lines.append(Line(label, tone, path, dots, write(have[-1][0]), end))

    points: list[dict[str, float | str]] = []
    for i, (x, epoch) in enumerate(zip(xs, epochs, strict=True)):
        shown = [(label, columns[key][i]) for key, (label, _) in series.items()]
        text = [f"epoch {number(epoch)}", *(f"{label} {write(v)}" for label, v in shown if v is not None)]
        if len(text) > 1:
            points.append({"x": round(x, 2), "text": "\n".join(text)})
    return Chart(
        title,
        lines,
        [(100 * (t - first) / (last - first) if last > first else 50.0, number(t)) for t in x_ticks],
        [(100 * (top - t) / (top - bottom), f"{100 * t:.4g}\u00a0%" if shares else number(t)) for t in y_ticks],
        points,
    )


def _ticks(low: float, high: float, steps: int, whole: bool = False) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, in about that many steps; the outer two enclose low and high."""
    raw = (high - low) / steps
    power = 10.0 ** floor(log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    if whole:
        step = max(1.0, step)
    # the small amounts keep a bound that is a multiple, but for rounding, from costing one tick more
    return [i * step for i in range(floor(low / step + 1e-9), ceil(high / step - 1e-9) + 1)]


def _path(xs: Sequence[float], ys: Sequence[float | None]) -> tuple[str, str]:
    """Lines through consecutive values, and the values that stand alone."""
    runs: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if y is None:
            runs.append([])
        else:
            runs[-1].append(f"{x:.2f},{y:.2f}")
    path = "".join("M" + "L".join(run) for run in runs if len(run) > 1)
    return path, "".join(f"M{run[0]}h0" for run in runs if len(run) == 1)

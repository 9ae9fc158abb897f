"""One self-contained HTML page about a training run, whatever its task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maxvit.errors import require
from maxvit.explain.attention_maps import AttentionMap
from maxvit.explain.draw import HEAT, data_uri, heat
from maxvit.inference.evaluate import EvaluationResult
from maxvit.report.charts import NOTHING, Best, Chart, finite, line_chart, number, percent, scatter_chart
from maxvit.storage import write_text
from maxvit.tasks.panels import Confusions, Mistake, Mistakes, Panels
from maxvit.tasks.protocols import Baseline, Cell

Intervals = Mapping[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, RGB as decoded, and what it is called."""

    name: str
    image: Image.Image


@dataclass(frozen=True, slots=True)
class ShownSample:
    """An image, what the network says of it, and what its attention received.

    Attributes:
        name: Name of the image.
        pictures: The image, RGB as decoded, and where words are not enough target and prediction drawn over it.
        words: The prediction in words, and the target if it is not drawn.
        seen: What the network was shown of it.
        maps: Over `seen`.
    """

    name: str
    pictures: Mapping[str, Image.Image]
    words: Mapping[str, str]
    seen: Image.Image
    maps: Sequence[AttentionMap]


@dataclass(frozen=True, slots=True)
class SuspiciousLabels:
    """Labels of training images that look wrong.

    Attributes:
        found: What `maxvit.training.suspicious_labels.read_suspicious` gives.
        verdict: How many there are and what to do, in a line; empty where there is none.
        panel: The first of them, whose rows are those of `found`.
        pictures: Their images, by row.
    """

    found: Sequence[Mapping[str, Any]]
    verdict: str
    panel: Mistakes
    pictures: Mapping[int, Picture]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows."""

    title: str
    facts: Mapping[str, str]  # small print: model, parameters, data, training time, ...
    history: Sequence[Mapping[str, float]]  # a row an epoch: epoch, train_loss, val_loss, learning_rate, ...
    monitor: str  # the metric that chose the best epoch
    best: int  # epoch
    result: EvaluationResult
    evaluated_on: str  # "360 held-out images (test)"
    config: str  # YAML text
    command: str  # reproduces the run
    summary: str  # the result in a sentence, for a paper
    intervals: Intervals = field(default_factory=dict)  # 95 %, of some metrics
    panels: Panels = field(default_factory=Panels)  # what the task has to show
    baseline: Baseline | None = None  # on the same images
    samples: Sequence[ShownSample] = ()
    pictures: Mapping[int, Picture] = field(default_factory=dict)  # of mistakes and the like, by the sample's row
    suspicious: SuspiciousLabels | None = None  # None: labels were not judged

    @property
    def main(self) -> str:
        """The metric that is told first."""
        return main_metric(self.result, self.monitor)

    @property
    def headline(self) -> str:
        """The metric that chose the best epoch in a line."""
        value, interval = say_metric(self.result, self.main, self.intervals)
        return f"{value} on {self.evaluated_on}{interval and f', {interval}'}"

    @property
    def others(self) -> str:
        """The other metrics in a line, which is empty where there are none."""
        named = [item for item in self.result.metrics.items() if item[0] != self.main]
        return ", ".join(f"{_in_words(name)} {self.result.say(name, value)}" for name, value in named)

    @property
    def comparison(self) -> str:
        """The network beside the baseline, in a line, which is empty without one."""
        if (plain := self.baseline) is None:
            return ""
        value = self.result.metrics[plain.metric]
        low, _ = self.intervals.get(plain.metric, (value, value))
        reached = self.result.say(plain.metric, plain.value)
        said = f"without a network, by {plain.name}: {_in_words(plain.metric)} {reached}"
        if low > plain.value or value == plain.value == 1:
            return said
        if value > plain.value:
            return f"{said}; the network is ahead of it, but {self.result.images} images are too few to be sure"
        return f"{said}; the network is not ahead of it: it needs more images, larger ones, or longer training"

    @property
    def first_verdict(self) -> str:
        """The probe beside the best epoch, in a line, which is empty without a probe."""
        name = f"val_{self.main}"
        probe = next((row for row in self.history if row.get("epoch") == 0), None)
        if probe is None or name not in probe:
            return ""
        if len(self.history) == 1:
            return "this is the first verdict: only the last layer has been trained"
        figure = f"{_in_words(self.main)} {self.result.say(self.main, probe[name])}"
        said = f"first verdict, before training: {figure} in validation"
        best = next(row for row in self.history if row.get("epoch") == self.best)
        if self.best == 0:
            return f"{said}; no epoch was better, so this is its result"
        return f"{said}; epoch {self.best}, the best: {self.result.say(self.main, best[name])}"


def main_metric(result: EvaluationResult, monitor: str) -> str:
    """The metric that chose the best epoch; the first, if that is of validation alone, or the loss."""
    return monitor if monitor in result.metrics and monitor != "loss" else next(iter(result.metrics))


def say_metric(result: EvaluationResult, name: str, intervals: Intervals) -> tuple[str, str]:
    """A metric, such as "accuracy 98.61%", and "95 % interval 96.80% to 99.41%" or nothing."""
    value = result.metrics[name]
    ends = [result.say(name, end) for end in intervals.get(name, ())]
    return f"{_in_words(name)} {result.say(name, value)}", f"95 % interval {' to '.join(ends)}" if ends else ""


def _in_words(name: str) -> str:
    return name.replace("_", " ")


_LARGEST_MATRIX = 50  # classes; beyond, a matrix is a wall of empty cells
_CONFUSIONS = {"next to a matrix": 8, "alone": 30}


def write_report(path: Path, report: Report) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; a file that is there is replaced in one step.
        report: What it shows. Names and texts may hold any characters: all are escaped.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    require("the report", "jinja2")
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("maxvit", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "number": number, "uri": _uri}
    environment.tests["small"] = lambda image: max(image.size) < 64  # then its pixels are shown
    panels, labels, text = report.panels, report.suspicious, partial(_as_text, report.result.task.in_percent)
    top, is_clipped = _scale(report.samples)
    page = environment.get_template("report.html.j2").render(
        report=report,
        result=report.result,
        panels=panels,
        metrics=[
            (name, _in_words(name), text(name, value), [text(name, end) for end in report.intervals.get(name, ())])
            for name, value in sorted(report.result.metrics.items(), key=lambda item: item[0] != report.main)
        ],
        charts=_charts(report),
        epochs=_epochs(report.history),
        matrix=panels.confusions and _matrix(panels.confusions),
        confusions=panels.confusions and _most_frequent(panels.confusions),
        classes=_classes(report),
        scatters=[chart for chart in map(scatter_chart, panels.scatters) if chart],
        samples=[(sample, _stages(sample.maps, top)) for sample in report.samples],
        has_rollout=any(m.axis == "rollout" for sample in report.samples for m in sample.maps),
        mistakes=_with_pictures(report.pictures, panels.mistakes),
        refused=_with_pictures(report.pictures, panels.refused),
        labels=labels.panel if labels and labels.found else None,
        labelled=_with_pictures(labels.pictures, labels.panel) if labels else [],
        heat={"top": top, "clipped": is_clipped, "colours": HEAT.round().astype(int).tolist()},
    )
    # a file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 page can hold
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def _with_pictures(pictures: Mapping[int, Picture], found: Mistakes | None) -> list[tuple[Mistake, Picture]]:
    """Those that there is a picture of."""
    return [(one, pictures[one.row]) for one in (found.worst if found else ()) if one.row in pictures]


def _as_text(in_percent: frozenset[str], name: str, value: Cell) -> str:
    """A metric, or a cell of the table of classes."""
    if isinstance(value, str):
        return value
    if finite(value) is None:
        return NOTHING
    return percent(value) if name in in_percent else f"{value:,}" if isinstance(value, int) else number(value)


def _charts(report: Report) -> list[Chart]:
    """Loss, the metric that chose the best epoch if it is another, and the learning rate."""
    history, monitor, task = report.history, report.monitor, report.result.task
    if [row.get("epoch") for row in history] == [0]:
        return []  # a point is not a curve

    def both(name: str) -> dict[str, tuple[str, str]]:
        return {f"train_{name}": ("training", "train"), f"val_{name}": ("validation", "val")}

    best: Best = "lowest" if monitor in task.lower_is_better else "highest"
    chosen_by = line_chart(_in_words(monitor), history, both(monitor), best=best, shares=monitor in task.in_percent)
    charts = (
        line_chart("Loss", history, both("loss"), best="lowest"),
        None if monitor == "loss" else chosen_by,
        line_chart("Learning rate", history, {"learning_rate": ("learning rate", "rate")}, steps=2),
    )
    return [chart for chart in charts if chart]


def _epochs(history: Sequence[Mapping[str, float]]) -> dict[str, list[Any]]:
    """Every recorded value as text, for those who cannot see or do not trust a curve."""
    keys = list(dict.fromkeys(key for row in history for key in row))
    values = [[finite(row.get(key)) for key in keys] for row in history]
    cells = [[NOTHING if value is None else number(value) for value in row] for row in values]
    return {"keys": [_in_words(key) for key in keys], "rows": cells}


def _matrix(confusions: Confusions) -> list[list[tuple[str, int, int]]] | None:
    """(text, count, depth of colour in percent) for each cell; None for too many classes.

    The root of the row's share lets single mistakes be seen. Images are counted, and of pixels the share of the row is
    written.
    """
    counts = confusions.counts
    if len(counts) > _LARGEST_MATRIX:
        return None
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    depths = np.where(counts > 0, 12 + 88 * np.sqrt(shares), 0).round().astype(int)
    texts = counts if confusions.unit == "images" else (100 * shares).round().astype(int)
    rows = zip(texts.tolist(), counts.tolist(), depths.tolist(), strict=True)
    return [[(str(text) if n else "", n, depth) for text, n, depth in zip(*row, strict=True)] for row in rows]


def _most_frequent(confusions: Confusions) -> list[dict[str, Any]]:
    """Pairs of classes that were taken for one another, the most frequent first."""
    names, counts = confusions.class_names, confusions.counts
    totals = counts.sum(1)
    targets, predictions = np.nonzero(counts)  # few of the cells, where there are many classes
    order = np.argsort(-counts[targets, predictions], kind="stable")
    limit = _CONFUSIONS["next to a matrix" if len(names) <= _LARGEST_MATRIX else "alone"]
    rows: list[dict[str, Any]] = []
    for target, prediction in zip(targets[order].tolist(), predictions[order].tolist(), strict=True):
        if target != prediction and len(rows) < limit:
            pair = {"target": names[target], "prediction": names[prediction]}
            rows.append({**pair, "count": int(counts[target, prediction]), "of": int(totals[target])})
    return rows


def _classes(report: Report) -> list[list[dict[str, Any]]]:
    """The table of classes, the weakest first, and last what has no number, or nothing that counts."""
    in_percent, by, rows = report.result.task.in_percent, report.panels.weakest_by, report.result.rows

    def rank(row: Mapping[str, Cell]) -> tuple[bool, float]:
        value = finite(float(row[by]))
        is_empty = any(isinstance(cell, int) and cell == 0 for cell in row.values())
        return value is None or is_empty, value or 0.0

    def cell(name: str, value: Cell) -> dict[str, Any]:
        said = {"name": _in_words(name), "text": _as_text(in_percent, name, value)}
        if isinstance(value, str):
            return {**said, "is_text": True, "bar": None}
        return {**said, "is_text": False, "bar": round(100 * (finite(value) or 0), 1) if name in in_percent else None}

    return [[cell(*item) for item in row.items()] for row in (sorted(rows, key=rank) if by else rows)]


def _scale(samples: Sequence[ShownSample]) -> tuple[float, bool]:
    """Where the colours of all maps end, which can so be compared, and whether some values are above."""
    values = [m.values[np.isfinite(m.values)] for sample in samples for m in sample.maps]
    every = np.concatenate(values) if values else np.zeros(0)
    # a few positions that receive most would leave all others dark
    top = max(2.0, float(np.quantile(every, 0.98))) if every.size else 2.0
    return top, float(every.max(initial=0.0)) > top


def _stages(maps: Sequence[AttentionMap], top: float) -> dict[int, list[dict[str, Any]]]:
    """The maps of each stage: what the template says of each, and its picture."""
    stages: dict[int, list[dict[str, Any]]] = {}
    for m in sorted(maps, key=lambda m: (m.stage, m.axis)):  # block comes before grid
        height, width = m.values.shape
        low, high = number(round(float(m.values.min()), 2)), number(round(float(m.values.max()), 2))
        said = {"axis": m.axis, "height": height, "width": width, "low": low, "high": high}
        stages.setdefault(m.stage, []).append({**said, "uri": data_uri(heat(m.values, top))})
    return stages


def _uri(image: Image.Image, longest: int) -> str:
    """The picture as text, shrunk to `longest` pixels if it is larger."""
    small = image.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return data_uri(small)

"""One self-contained HTML page about a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from maxvit.errors import MaxViTError
from maxvit.explain.attention_maps import AttentionMap
from maxvit.explain.draw import data_uri
from maxvit.explain.heat import HEAT, heat
from maxvit.inference.evaluation import Evaluation
from maxvit.report.charts import Chart, finite, line_chart, number, percent
from maxvit.storage import write_text


@dataclass(frozen=True, slots=True)
class Mistake:
    """A wrong answer and its picture."""

    image: Image.Image  # RGB, as decoded
    name: str
    truth: str
    answer: str
    confidence: float  # 0 to 1, of the wrong answer
    truth_probability: float


@dataclass(frozen=True, slots=True)
class Explained:
    """A picture, what the network said of it, and what its attention received."""

    image: Image.Image
    name: str
    truth: str
    answer: str
    confidence: float
    maps: list[AttentionMap]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows."""

    title: str
    facts: dict[str, str]  # a line of small figures: model, parameters, data, training time, ...
    history: list[dict[str, float]]  # a row an epoch: epoch, train_loss, val_loss, val_accuracy, learning_rate, ...
    evaluation: Evaluation
    evaluated_on: str  # "360 held-out images (test)"
    mistakes: list[Mistake]
    explained: list[Explained]
    config: str  # YAML text
    command: str  # reproduces the run
    summary: str  # the result in a sentence, for a paper

    @property
    def headline(self) -> str:
        """The result in a line."""
        return f"accuracy {self.evaluation.accuracy:.2%} on {self.evaluated_on}"


_LARGEST_MATRIX = 50  # classes; beyond, a matrix is a wall of empty cells
_CONFUSIONS = {"beside a matrix": 8, "alone": 30}


def write_report(path: Path, report: Report) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; a file that is there is replaced in one step.
        report: What it shows. Names and texts may hold any characters: all are escaped.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    write_page(
        path,
        "report.html.j2",
        report=report,
        evaluation=report.evaluation,
        charts=_charts(report.history),
        epochs=epochs_table(report.history),
        matrix=_matrix(report.evaluation) if len(report.evaluation.class_names) <= _LARGEST_MATRIX else None,
        confusions=_confusions(report.evaluation),
        bins=report.evaluation.calibration_bins(),
        calibration_interval=report.evaluation.calibration_interval(),
        classes=sorted(report.evaluation.per_class(), key=lambda row: (not row["images"], row["f1"])),
        mistakes=[(mistake, *picture_uri(mistake.image, 192)) for mistake in report.mistakes],
        **_attention(report.explained),
    )


def write_page(path: Path, template: str, **shown: Any) -> None:
    """Write a page that a template makes of what it shows, in one step; raises `MaxViTError` as `write_report`."""
    page = _environment().get_template(template).render(shown)
    # a file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 page can hold
    write_text(path, page.encode("utf-8", "replace").decode("utf-8"))


def _environment() -> Any:
    """The templates of pages. Raises `MaxViTError` if jinja2 (an optional dependency) is missing."""
    try:
        import jinja2
    except ImportError as error:
        raise MaxViTError(f"the report needs jinja2 ({error}): pip install 'maxvit[train]'") from error
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("maxvit", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    found.filters |= {"percent": percent, "number": number}
    return found


def _charts(history: list[dict[str, float]]) -> list[Chart]:
    charts = (
        line_chart(
            "Loss", history, {"train_loss": ("training", "train"), "val_loss": ("validation", "val")}, best="lowest"
        ),
        line_chart(
            "Accuracy",
            history,
            {"train_accuracy": ("training", "train"), "val_accuracy": ("validation", "val")},
            best="highest",
            shares=True,
        ),
        line_chart("Learning rate", history, {"learning_rate": ("learning rate", "rate")}, steps=2),
    )
    return [chart for chart in charts if chart]


def epochs_table(history: list[dict[str, float]]) -> dict[str, list[Any]]:
    """Every recorded value as text, for those who cannot see or do not trust a curve."""
    keys = list(dict.fromkeys(key for row in history for key in row))
    values = [[finite(row.get(key)) for key in keys] for row in history]
    cells = [["–" if value is None else number(value) for value in row] for row in values]
    return {"keys": [key.replace("_", " ") for key in keys], "rows": cells}


def _matrix(evaluation: Evaluation) -> list[list[tuple[int, int]]]:
    """(count, depth of colour in percent) per cell. The root of the row's share lets single mistakes be seen."""
    counts = evaluation.confusion
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    depths = np.where(counts > 0, 12 + 88 * np.sqrt(shares), 0).round().astype(int)
    return [list(zip(*rows, strict=True)) for rows in zip(counts.tolist(), depths.tolist(), strict=True)]


def _confusions(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Pairs that were taken for one another, the most frequent first."""
    names, counts = evaluation.class_names, evaluation.confusion
    images = counts.sum(1)
    np.fill_diagonal(counts, 0)
    limit = _CONFUSIONS["beside a matrix" if len(names) <= _LARGEST_MATRIX else "alone"]
    rows = []
    for cell in np.argsort(-counts, axis=None, kind="stable")[:limit].tolist():
        truth, answer = divmod(cell, len(names))
        if count := int(counts[truth, answer]):
            rows.append({"truth": names[truth], "answer": names[answer], "count": count, "images": int(images[truth])})
    return rows


def _attention(explained: list[Explained]) -> dict[str, Any]:
    """The cards, and the one colour scale that they share so that they can be compared."""
    values = [m.values[np.isfinite(m.values)] for item in explained for m in item.maps]
    every = np.concatenate(values) if values else np.zeros(0)
    peak = float(every.max(initial=0.0))
    # a few positions that receive most would leave all others dark
    top = min(peak, max(2.0, float(np.quantile(every, 0.98)))) if peak > 1 else 1.0
    cards = []
    for item in explained:
        stages: dict[int, list[dict[str, Any]]] = {}
        for m in sorted(item.maps, key=lambda m: (m.stage, m.axis)):  # block comes before grid
            height, width = m.values.shape
            low, high = number(round(float(m.values.min()), 2)), number(round(float(m.values.max()), 2))
            uri = data_uri(heat(m.values, top))
            stages.setdefault(m.stage, []).append(
                {"axis": m.axis, "height": height, "width": width, "low": low, "high": high, "uri": uri}
            )
        cards.append((item, *picture_uri(item.image, 256), stages))
    gradient = ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in HEAT)
    return {"cards": cards, "heat": {"top": top, "clipped": peak > top, "gradient": gradient}}


def picture_uri(image: Image.Image, longest: int) -> tuple[str, bool]:
    """A data URI, shrunk to `longest` pixels if larger, and whether it is so small that it should show its pixels."""
    small = image.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return data_uri(small), max(image.size) < 64

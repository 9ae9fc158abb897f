"""One self-contained HTML page about a run that trained a task."""

from dataclasses import dataclass
from math import isnan
from pathlib import Path

from PIL import Image

from maxvit.explain.draw import data_uri
from maxvit.inference.judging import Judgement
from maxvit.report.charts import Chart, line_chart
from maxvit.report.page import epochs_table, write_page


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, its truth and its answer, drawn by the task."""

    name: str
    image: Image.Image
    truth: Image.Image
    answer: Image.Image
    sentence: str


@dataclass(frozen=True, slots=True)
class TaskReport:
    """Everything that the page shows."""

    title: str
    facts: dict[str, str]
    history: list[dict[str, float]]  # a row an epoch
    judgement: Judgement
    monitor: str
    evaluated_on: str  # "60 held-out images (test)"
    pictures: list[Picture]
    config: str  # YAML text
    command: str  # reproduces the run

    @property
    def headline(self) -> str:
        """The result in a line."""
        figures = [
            f"{name} {'-' if isnan(value) else f'{value:.3f}'}" for name, value in self.judgement.figures.items()
        ]
        return f"{', '.join(figures)} on {self.evaluated_on}"


def write_task_report(path: Path, report: TaskReport) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    write_page(
        path,
        "task_report.html.j2",
        report=report,
        judgement=report.judgement,
        charts=_charts(report.history, report.monitor),
        epochs=epochs_table(report.history),
        pictures=[_drawn(picture) for picture in report.pictures],
    )


def _charts(history: list[dict[str, float]], monitor: str) -> list[Chart]:
    """Loss, the figure that chose the best epoch, and the learning rate."""
    judged = {f"val_{monitor}": ("validation", "val")}
    charts = (
        line_chart(
            "Loss", history, {"train_loss": ("training", "train"), "val_loss": ("validation", "val")}, best="lowest"
        ),
        line_chart(monitor.replace("_", " "), history, judged, best="highest"),
        line_chart("Learning rate", history, {"learning_rate": ("learning rate", "rate")}, steps=2),
    )
    return [chart for chart in charts if chart]


def _drawn(picture: Picture) -> dict[str, object]:
    images = {"image": picture.image, "truth": picture.truth, "answer": picture.answer}
    small = {name: image.copy() for name, image in images.items()}
    for image in small.values():
        image.thumbnail((640, 640), Image.Resampling.LANCZOS)
    uris = {name: data_uri(image) for name, image in small.items()}
    return {"name": picture.name, "sentence": picture.sentence, "pixels": max(picture.image.size) < 64, **uris}

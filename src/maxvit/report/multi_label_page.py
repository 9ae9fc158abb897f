"""One self-contained HTML page about a run that trained on images with several labels each."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from maxvit.inference.multi_label import MultiLabelEvaluation
from maxvit.report.charts import Chart, line_chart
from maxvit.report.page import epochs_table, picture_uri, write_page


@dataclass(frozen=True, slots=True)
class WrongImage:
    """An image whose answer is not what it shows.

    Attributes:
        image: RGB, as decoded.
        name: Of its file.
        truth: What it shows.
        missed: Of that what is not answered, with its probability.
        wrong: What is answered and not there, with its probability.
    """

    image: Image.Image
    name: str
    truth: list[str]
    missed: list[tuple[str, float]]
    wrong: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class MultiLabelReport:
    """Everything that the page shows."""

    title: str
    facts: dict[str, str]
    history: list[dict[str, float]]  # a row an epoch
    evaluation: MultiLabelEvaluation
    evaluated_on: str  # "360 held-out images (test)"
    mistakes: list[WrongImage]
    config: str  # YAML text
    command: str  # reproduces the run
    summary: str  # the result in a sentence, for a paper

    @property
    def headline(self) -> str:
        """The result in a line."""
        scores = self.evaluation.scores()
        return (
            f"mean average precision {scores['mAP']:.2%}, micro F1 {scores['f1_micro']:.2%} at a threshold of "
            f"{self.evaluation.threshold:.3f}, on {self.evaluated_on}"
        )


def write_multi_label_report(path: Path, report: MultiLabelReport) -> None:
    """Write the page: one HTML file that loads nothing from anywhere.

    Raises:
        MaxViTError: If the file cannot be written, or jinja2 (an optional dependency) is missing.
    """
    evaluation = report.evaluation
    write_page(
        path,
        "multi_label_report.html.j2",
        report=report,
        evaluation=evaluation,
        scores=evaluation.scores(),
        intervals=evaluation.intervals(),
        charts=_charts(report.history),
        epochs=epochs_table(report.history),
        classes=sorted(evaluation.per_class(), key=lambda row: (not row["positives"], row["ap"])),
        mistakes=[(mistake, *picture_uri(mistake.image, 192)) for mistake in report.mistakes],
    )


def _charts(history: list[dict[str, float]]) -> list[Chart]:
    loss = {"train_loss": ("training", "train"), "val_loss": ("validation", "val")}
    scores = {"val_f1_micro": ("micro F1", "train"), "val_mAP": ("mean average precision", "val")}
    charts = (
        line_chart("Loss", history, loss, best="lowest"),
        line_chart("Validation", history, scores, best="highest", shares=True),
        line_chart("Learning rate", history, {"learning_rate": ("learning rate", "rate")}, steps=2),
    )
    return [chart for chart in charts if chart]

"""maxvit train --folds: what it prints."""

import json
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from maxvit.cli.errors import INTERRUPTED, REQUEUE, complain

if TYPE_CHECKING:
    from maxvit.training.recipe import Recipe


def cross_validate(
    recipe: "Recipe", out: Path, folds: int | str, command: str, device: str, note: str, as_json: bool
) -> None:
    """Train all folds and tell how good they are; the same command goes on where one was stopped."""
    from maxvit.inference.evaluate import EvaluationResult
    from maxvit.report.charts import finite
    from maxvit.report.page import main_metric, say_metric
    from maxvit.training.files import monitor, read_metrics
    from maxvit.training.folds import train_folds
    from maxvit.training.run import Outcome

    found = train_folds(recipe, out, folds, True, command, device, note)
    if isinstance(found, Outcome):
        complain("stopped; give the same command with --out to continue")
        raise typer.Exit(INTERRUPTED if found.signal == signal.SIGINT else REQUEUE)
    if as_json:
        metrics = [{name: finite(value) for name, value in one.metrics.items()} for one in (found.result, *found.folds)]
        predictions = found.predictions and str(found.predictions)
        written = {"runs": [str(run) for run in found.runs], "predictions": predictions}
        typer.echo(json.dumps({**written, "metrics": metrics[0], "folds": metrics[1:], "images": found.result.images}))
        return
    name = main_metric(found.result, monitor(recipe, read_metrics(found.runs[0])))

    def tell(result: EvaluationResult) -> str:
        value, interval = say_metric(result, name, result.intervals)
        return f"{value} on {result.images} images{interval and f', {interval}'}"

    typer.echo(f"{tell(found.result)}, each predicted by the network that did not learn from it")
    for number, one in enumerate(found.folds, 1):
        typer.echo(f"fold {number}:      {tell(one)}")
    if found.predictions:
        typer.echo(f"predictions: {found.predictions}")
    together = ",".join(map(str, found.runs))
    typer.echo(f"next:        maxvit predict {shlex.quote(together)} IMAGE")

"""maxvit train: from images to a checkpoint and a report."""

import itertools
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.errors import INTERRUPTED, complain
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.training.run import Outcome


def train(
    data: Annotated[
        Path | None,
        typer.Argument(help="A folder with a folder of images per class; without it, handwritten digits."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or YAML file. Default: folder, or digits without DATA.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A variant's name: see maxvit list.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override the recipe: data.batch_size=32."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make. Default: a new one below runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue a run that stopped.")] = None,
    show_recipe: Annotated[bool, typer.Option("--show-recipe", help="Print the complete recipe and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Train, and write checkpoints, metrics and a report.

    Ctrl-C stops cleanly and leaves a checkpoint that --resume goes on from.
    """
    from maxvit.training import run as runs
    from maxvit.training.recipe import load_recipe

    command = shlex.join(["maxvit", *sys.argv[1:]])
    if resume is not None:
        given = {"DATA": data, "--recipe": recipe, "--model": model, "--set": settings, "--out": out}
        if extra := [name for name, value in {**given, "--show-recipe": show_recipe}.items() if value]:
            raise MaxViTError(f"--resume continues a run with its own recipe; {extra[0]} was given too: leave it out")
        outcome = runs.resume(resume, show_progress=True, command=command)
    else:
        overrides = list(settings or [])
        if model is not None:
            overrides.insert(0, f"model.name={model}")
        if data is not None:
            overrides.insert(0, f"data.path={json.dumps(str(data))}")
        chosen = load_recipe(recipe or ("digits" if data is None else "folder"), overrides)
        if show_recipe:
            typer.echo(chosen.to_yaml(), nl=False)
            return
        folder = out or _new_folder(Path(chosen.data.path).resolve().name if chosen.data.path else "digits")
        outcome = runs.train(chosen, folder, show_progress=True, command=command)
    _finish(outcome, as_json)


def _finish(outcome: "Outcome", as_json: bool) -> None:
    from maxvit.training.report_run import report_run

    for sentence in outcome.skipped[:10]:
        complain(f"left out: {sentence}")
    if outcome.skipped:
        complain(f"{len(outcome.skipped)} of the images could not be read and were left out")
    if not outcome.finished:
        complain(f"stopped; continue with: maxvit train --resume {shlex.quote(str(outcome.run))}")
        raise typer.Exit(INTERRUPTED)
    page, report = report_run(outcome.run)
    result = report.evaluation
    checkpoint = outcome.run / "best.safetensors"
    if as_json:
        answer = {"checkpoint": str(checkpoint), "report": str(page), "accuracy": result.accuracy}
        typer.echo(json.dumps({**answer, "images": len(result.labels), "skipped": len(outcome.skipped)}))
        return
    low, high = result.interval
    typer.echo(f"accuracy {result.accuracy:.2%} on {report.evaluated_on}, 95 % interval {low:.2%} to {high:.2%}")
    typer.echo(f"checkpoint: {checkpoint}\nreport:     {page}")


def _new_folder(name: str) -> Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that does not exist."""
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(folder for c in candidates if not (folder := Path("runs") / c).exists())

"""maxvit train: from images to a checkpoint and a report."""

import itertools
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.console import read_batch, read_folds, read_minutes, read_size, say_left_out
from maxvit.cli.errors import INTERRUPTED, REQUEUE, complain
from maxvit.cli.options import Device, ImageColumn, LabelColumn
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.training.recipe import Recipe
    from maxvit.training.run import Outcome


def train(
    data: Annotated[
        str | None,
        typer.Argument(help="A folder of class folders, shards, a list, or formulas; without it, handwritten digits."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification, segmentation, detection, aesthetics, regression, masked, or a module: docs/tasks.md."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's name or YAML file. Default: the task's; folder, or digits without DATA."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A variant: see maxvit list. Or a run or checkpoint to start from.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="CHECKPOINT", help="A larger classifier, to learn from its answers too.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="20m", help="For all of it, such as 90s, 20m or 1h30m: training is planned so."),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="fast (the first verdict alone), good, or best (three times the epochs).")
    ] = "good",
    scratch: Annotated[bool, typer.Option("--scratch", help="Start from random weights.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Times that each training image is seen.")] = None,
    batch_size: Annotated[str | None, typer.Option("--batch", metavar="N|auto", help="Images of one update.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--lr", help="The peak of the learning rate.")] = None,
    size: Annotated[str | None, typer.Option(metavar="H|HxW", help="Pixels of the images.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode images.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="What chooses the best epoch, such as f1_macro or loss. Default: the task's.")
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    track: Annotated[
        list[str] | None,
        typer.Option(help="Where metrics go, in place of tensorboard: wandb, mlflow. Give it once for each."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the recipe: task.mixup=0.8."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder to make. Default: a new one below runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Continue a run that stopped.")] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Continue if --out holds a run: for schedulers that restart the command.")
    ] = False,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine. Default: one for each GPU, else one.")
    ] = None,
    device: Device = "auto",
    folds: Annotated[
        str | None,
        typer.Option(metavar="K|COLUMN", help="Cross-validate: K runs, or one for each fold that a list names."),
    ] = None,
    show_recipe: Annotated[bool, typer.Option("--show-recipe", help="Print the complete recipe and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Train, and write checkpoints, metrics and a report.

    Ctrl-C stops cleanly and leaves a state that --resume goes on from; so do SIGTERM and SIGUSR1, with exit code 75.
    Several GPUs are used by themselves. On several machines: torchrun --nnodes N --nproc-per-node 8 ... -m maxvit train
    ... --out RUN --continue.
    """
    from maxvit.cli.folds import cross_validate
    from maxvit.data.builtin import is_builtin
    from maxvit.inference.device import choose_device, how_many
    from maxvit.storage import RUN_CONFIG
    from maxvit.training import run as runs
    from maxvit.training.choose import choose_recipe
    from maxvit.training.ranks import processes
    from maxvit.training.recipe import load_recipe

    choices = {
        "model": model,
        "teacher": teacher,
        "minutes": time and read_minutes(time),
        "epochs": epochs,
        "batch_size": batch_size and read_batch(batch_size),
        "learning_rate": learning_rate,
        "image_size": size and read_size(size),
        "workers": workers,
        "metric": metric,
        "image_column": image_column,
        "label_column": label_column or None,
        "track": track or None,
    }
    if resume is not None:
        given: dict[str, object] = {"DATA": data, "--task": task, "--recipe": recipe, "--out": out, "--set": settings}
        given |= {"--model": model, "--epochs": epochs, "--batch": batch_size, "--lr": learning_rate, "--size": size}
        given |= {"--workers": workers, "--image-column": image_column, "--label-column": label_column}
        given |= {
            "--teacher": teacher,
            "--metric": metric,
            "--track": track,
            "--show-recipe": show_recipe or None,
            "--time": time,
        }
        given |= {"--folds": folds, "--preset": None if preset == "good" else preset, "--scratch": scratch or None}
        if extra := [name for name, value in given.items() if value not in (None, [])]:
            raise MaxViTError(f"--resume continues a run with its own recipe; {extra[0]} was given too: leave it out")
        words = ["--resume", str(resume)]
    else:
        if data and is_builtin(data) and Path(data).is_dir() and not (Path(data) / RUN_CONFIG).exists():
            raise MaxViTError(
                f"{data} is a data set that needs no folder, and there is one named so: write ./{data} for the folder"
            )
        on_gpu = choose_device(device).type != "cpu"
        name, overrides, said = choose_recipe(
            data, task, recipe, choices, settings or [], preset=preset, scratch=scratch, on_gpu=on_gpu
        )
        chosen = load_recipe(name, overrides)
        if show_recipe:
            typer.echo(chosen.to_yaml(), nl=False)
            return
        if out is None and (go_on or processes().started):
            raise MaxViTError("give --out, the run folder: all processes, and the next start, must know it")
        out = out or _new_folder(chosen.data.path or name)
        _check_outside(out, chosen)
        words = ["--recipe", name, "--out", str(out), *(word for o in overrides for word in ("--set", o))]
        words += ["--continue"] if go_on else []
    folder = resume or out
    assert folder is not None
    words += ["--device", device]
    if folds is not None:
        if how_many(devices, device) > 1 or processes().started:
            raise MaxViTError("--folds trains on one device: give --devices 1, or --device cuda:N")
        cross_validate(chosen, folder, read_folds(folds), shlex.join(["maxvit", *sys.argv[1:]]), device, said, as_json)
        return
    if not processes().started and (number := how_many(devices, device)) > 1:
        from maxvit.training.launch import launch

        raise typer.Exit(launch(["train", *words, *(["--json"] if as_json else [])], number, REQUEUE))
    command = shlex.join(["maxvit", *sys.argv[1:]])
    if resume is not None:
        outcome = runs.resume(folder, show_progress=True, command=command, device=device)
    elif go_on or processes().restarts:
        outcome = runs.train_or_resume(chosen, folder, True, command, device, said)
    else:
        outcome = runs.train(chosen, folder, True, command, device, said)
    if processes().rank == 0:
        _finish(outcome, device, as_json)
    elif not outcome.finished:
        raise typer.Exit(_code(outcome))


def _check_outside(run: Path, recipe: "Recipe") -> None:
    """Refuse a run folder whose pictures would be data of the next run."""
    from maxvit.data.builtin import DIGITS
    from maxvit.tasks import make_task

    data = Path(recipe.data.path or DIGITS)
    if data.is_dir() and make_task(recipe.task).reads(data, run.resolve()):
        raise MaxViTError(f"{run} is in {data}, whose folders are data: choose a folder outside with --out")


def _how_to_go_on(run: Path) -> str:
    """After a run was stopped."""
    from maxvit.storage import RUN_CONFIG

    if (run / RUN_CONFIG).is_file():
        return f"stopped; continue with: maxvit train --resume {shlex.quote(str(run))}"
    return "stopped before the run began; nothing was written: give the same command again"


def _code(outcome: "Outcome") -> int:
    return INTERRUPTED if outcome.signal == signal.SIGINT else REQUEUE


def _finish(outcome: "Outcome", device: str, as_json: bool) -> None:
    from maxvit.report.charts import finite
    from maxvit.report.run import report_run

    for sentence in outcome.skipped[:10]:
        complain(f"left out: {sentence}")
    if outcome.skipped:
        complain(say_left_out(len(outcome.skipped)))
    if not outcome.finished:
        complain(_how_to_go_on(outcome.run))
        raise typer.Exit(_code(outcome))
    checkpoint = outcome.run / "best.safetensors"
    try:
        page, report = report_run(outcome.run, device=device)
    except KeyboardInterrupt:
        complain(f"the run is finished, but for its report: maxvit report {shlex.quote(str(outcome.run))}")
        raise
    if as_json:
        written = {"checkpoint": str(checkpoint), "report": str(page)}
        metrics = {name: finite(value) for name, value in report.result.metrics.items()}
        measured = {"metrics": metrics, "intervals_95": report.intervals}
        labels = {"suspicious_labels": report.suspicious and report.suspicious.found}
        counts = {"images": report.result.images, "skipped": len(outcome.skipped)}
        baseline = report.baseline and {"name": report.baseline.name, report.baseline.metric: report.baseline.value}
        typer.echo(json.dumps({**written, **measured, "baseline": baseline, **labels, **counts}))
        return
    said = [report.headline, report.summary, report.others]
    said += [report.first_verdict, report.result.weakest, report.comparison]
    said += [report.suspicious.verdict] if report.suspicious else []
    said += [f"checkpoint: {checkpoint}", f"report:     {page}"]
    run = shlex.quote(str(outcome.run))
    is_a_start = bool(report.result.task.no_answer)
    said += [f"next:       maxvit {f'train DATA --model {run}' if is_a_start else f'predict {run} IMAGE'}"]
    typer.echo("\n".join(line for line in said if line))


def _new_folder(data: str) -> Path:
    """runs/NAME, or the first of runs/NAME-2, runs/NAME-3, ... that does not exist."""
    from maxvit.data.builtin import is_builtin

    name = data.partition(":")[0] if is_builtin(data) else Path(data).resolve().name
    candidates = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(folder for c in candidates if not (folder := Path("runs") / c).exists())

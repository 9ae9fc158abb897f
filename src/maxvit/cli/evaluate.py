"""maxvit evaluate: how good a network's predictions are, with confidence intervals, at one size or several."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maxvit.cli.console import as_text, print_table, read_size
from maxvit.cli.errors import complain
from maxvit.cli.options import Checkpoints, Device, ImageColumn, LabelColumn, Precision, Tta, split_checkpoints
from maxvit.cli.task_options import Settings, TaskName, check_task, read_settings
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.config import Preprocessing
    from maxvit.inference.evaluate import EvaluationResult
    from maxvit.tasks.task import Task


def evaluate(
    checkpoint: Checkpoints,
    data: Annotated[
        str | None,
        typer.Argument(help="As for maxvit train. Without it, the data that the network was trained on."),
    ] = None,
    image_column: ImageColumn = None,
    label_column: LabelColumn = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="H|HxW", help="Pixels of the images; several times: each, and all together."),
    ] = None,
    scale_windows: Annotated[
        bool, typer.Option("--scale-windows", help="Windows of ceil(side / 32) at each --size.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Of data without a test or val part, also the images of training.")
    ] = False,
    tta: Tta = "none",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write evaluation.json there, and every prediction in the format of the task."
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once. Default: the task's.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    task: TaskName = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Measure a network of any task by its metrics, with 95 % confidence intervals where there are some.

    The test part of DATA counts, else its validation part. If the network was trained on DATA without such parts, the
    images that training held out; of other data all.
    """
    from maxvit.data.dataset import describe
    from maxvit.inference.device import choose_device
    from maxvit.inference.ensemble import Ensemble, open_sizes_together
    from maxvit.inference.evaluate import evaluate_sizes, reading_task, size_name
    from maxvit.inference.evaluation_files import as_dict, headline, write_evaluation
    from maxvit.inference.held_out import without_training
    from maxvit.storage import check_folder

    sizes = [read_size(text) for text in size or []]
    if scale_windows and not sizes:
        raise MaxViTError("--scale-windows is for --size, which was not given: add it, or leave --scale-windows out")
    if out is not None:
        check_folder(out)
    chosen = read_settings(task, settings)
    paths, where = split_checkpoints(checkpoint), choose_device(device)
    engines = open_sizes_together(paths, sizes, scale_windows, engine, where, precision, chosen)
    opened = Ensemble(next(iter(engines.values())), tta)
    check_task(opened.task, task, checkpoint)
    if opened.compromise:
        complain(opened.compromise)
    provenances = [one.provenance for one in opened.engines]
    place = _find(data, provenances, checkpoint)
    reading = reading_task(opened.engines[0], place, image_column, label_column)
    found = reading.load_eval(place, opened.engines[0].class_names)
    complain(describe(found))
    redraw = partial(reading.load, place)
    images, sentence = without_training(found, place, provenances, redraw, everything)
    if sentence:
        complain(sentence)
    keep = len(images) if out is not None and opened.task.evaluated_file else 0
    results = evaluate_sizes(engines, images, batch_size, workers, show_progress=True, tta=tta, keep=keep)
    result = results[headline(results)]
    for sentence in result.skipped:
        complain(f"left out: {sentence}")
    complain(f"engine: {opened.name}")
    known = as_dict(results, images, opened.name, tta)
    if out is not None:
        used = {
            "checkpoint": str(checkpoint),
            "data": place,
            "sizes": [size_name(s) for s in engines],
            "preprocessing": _without_sizes(opened.specs),
            "scale_windows": scale_windows,
            "batch_size": batch_size or opened.task.batch_size,
            "task": opened.task.settings.model_dump(mode="json"),
        }
        complain(f"wrote {', '.join(map(str, write_evaluation(out, results, images, known, used)))}")
    if as_json:
        typer.echo(json.dumps(known))
    else:
        _print(known, len(images), result)


def _without_sizes(specs: "Sequence[Preprocessing]") -> dict[str, Any] | list[dict[str, Any]]:
    """What is expected of an image besides its size: once, where all networks expect the same."""
    found = [{name: value for name, value in spec.to_dict().items() if name != "image_size"} for spec in specs]
    unlike = [one for i, one in enumerate(found) if one not in found[:i]]
    return unlike if len(unlike) > 1 else unlike[0]


def _find(data: str | None, provenances: Sequence[Mapping[str, Any]], checkpoint: str) -> str:
    """Where the images are. Raises `MaxViTError` if they are gone, or nothing says where they were."""
    from maxvit.data.builtin import is_builtin

    known = {((one.get("recipe") or {}).get("data") or {}).get("path") for one in provenances}
    if data is None and len(known) > 1:
        raise MaxViTError(f"the networks were trained on different data: maxvit evaluate {checkpoint} DATA")
    place = data or known.pop()
    if place is None:
        raise MaxViTError(f"{checkpoint} does not say what it was trained on: maxvit evaluate {checkpoint} DATA")
    if is_builtin(place) or "://" in place or Path(place).exists():
        return str(place)
    if data is None:
        raise MaxViTError(f"{checkpoint} was trained on {place}, which does not exist here: add DATA after it")
    raise MaxViTError(f"{place} does not exist: check the path")


def _print(known: Mapping[str, Any], number: int, result: "EvaluationResult") -> None:
    """What `as_dict` gives, for people; there were `number` images, and `result` has the metrics that come first."""
    metrics, intervals, sizes = known["metrics"], known["intervals_95"], known["sizes"]
    if several := len(sizes) > 1:
        rows = sizes if known["size"] in [one["size"] for one in sizes] else [*sizes, known]
        first, *others = metrics
        header = ["size", first, *["95 % interval"] * (first in intervals), *others]
        print_table([_words(name) for name in header], [_row(row, first, others, result) for row in rows])
        typer.echo("")
    for name, value in metrics.items():
        interval = f" (95 % interval {_interval(name, intervals, result)})" if name in intervals else ""
        typer.echo(f"{_words(name)} {result.say(name, value)}{interval}")
    part = "all there are: those of training may be among them" if known["part"] == "all" else known["part"]
    where = (", all sizes together" if rows[-1] is known else f", at {known['size']}") if several else ""
    typer.echo(f"on {known['images']} of {number} images ({part}){where}")
    if result.weakest:
        typer.echo(result.weakest)
    if classes := known["classes"]:
        typer.echo("")
        cells = [[_cell(name, value, result.task) for name, value in row.items()] for row in classes]
        print_table([_words(name) for name in classes[0]], cells)


def _row(measured: Mapping[str, Any], first: str, others: list[str], result: "EvaluationResult") -> list[str]:
    """A size of several: the first metric, its interval if there is one, and the other metrics."""
    metrics, intervals = measured["metrics"], measured["intervals_95"]
    interval = [_interval(first, intervals, result)] if first in intervals else []
    values = [result.say(name, metrics[name]) for name in [first, *others]]
    return [measured["size"], values[0], *interval, *values[1:]]


def _words(name: str) -> str:
    return name.replace("_", " ")


def _interval(name: str, intervals: Mapping[str, list[float | None]], result: "EvaluationResult") -> str:
    return " to ".join(result.say(name, end) for end in intervals[name])


def _cell(name: str, value: str | int | float | None, task: "Task") -> str:
    if isinstance(value, str | int):
        return str(value)
    return as_text(value, ".1%" if name in task.in_percent else ".3f")

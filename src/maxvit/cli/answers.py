"""maxvit predict and evaluate for checkpoints of other tasks than classification."""

import itertools
import json
from collections.abc import Iterable, Iterator
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from maxvit.cli.console import as_text, print_table
from maxvit.cli.errors import USER_MISTAKE, complain
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.inference.answering import Answered, TaskPredictor
    from maxvit.tasks.network import TaskNetwork


def open_task(checkpoint: Path, task: str | None, settings: list[str] | None) -> "TaskNetwork | None":
    """The network of a checkpoint, or None if it is a classifier or an exported file.

    Args:
        checkpoint: A file.
        task: What the user says it is: needed for a task that is a module of his own.
        settings: "key=value" each, of the task, in place of the checkpoint's.

    Raises:
        MaxViTError: If the checkpoint is of another task, or a setting is given that it has not.
    """
    from maxvit import tasks
    from maxvit.tasks.network import TaskNetwork

    found = tasks.task_of(checkpoint)
    if task not in (None, found):
        raise MaxViTError(f"{checkpoint} is for {found}, and --task {task} was given: leave --task out")
    if found == tasks.CLASSIFICATION:
        if settings:
            raise MaxViTError(f"--set {settings[0]} is for tasks that have settings, and {checkpoint} is a classifier")
        return None
    if task is not None:
        tasks.find_task(task)  # imports it
    from maxvit.training.recipe import apply_override

    values: dict[str, Any] = {"task": {}}
    for text in settings or []:
        apply_override(values, f"task.{text.removeprefix('task.')}")
    if "name" in values["task"]:
        raise MaxViTError(f"{checkpoint} is for {found}, which --set cannot change: leave name out")
    network = tasks.load_network(checkpoint, values["task"])
    assert isinstance(network, TaskNetwork)
    return network


def predict_task(
    network: "TaskNetwork",
    files: list[Path],
    batch_size: int,
    device: str,
    precision: str,
    pictures: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Print answers, and write pictures and answers where wanted."""
    from maxvit.inference.answering import TaskPredictor
    from maxvit.inference.device import choose_device
    from maxvit.inference.progress import track

    drawn = [file for file in files if file.suffix.lower() == ".png"]  # as pictures are
    if pictures is not None and any(file.absolute().parent.resolve() == pictures.resolve() for file in drawn):
        raise MaxViTError(f"--pictures {pictures} holds images to predict, and would write over them: name another")
    if out is not None and out.is_file():
        raise MaxViTError(f"{out} exists already: choose another name, or remove it")
    if out is not None and pictures is not None and out.resolve() == pictures.resolve():
        raise MaxViTError(f"--out and --pictures are both {out}: give each a place of its own")
    predictor = TaskPredictor(network, batch_size, choose_device(device), precision)
    failed: list[str] = []
    answers = track(predictor.stream(files), "predicting", show=len(files) > batch_size, total=len(files))
    good = _told(answers, predictor, pictures, as_json, failed)
    if out is None:
        for _ in good:
            pass
    else:
        predictor.task.write(((a.name, a.size, a.answer) for a in good), out, predictor.class_names)
        complain(f"wrote {out}")
    complain(f"engine: {predictor.name}")
    if failed:
        complain(f"{len(failed)} of {len(files)} images could not be read")
        raise typer.Exit(USER_MISTAKE)


def _told(
    answers: "Iterable[Answered]", predictor: "TaskPredictor", pictures: Path | None, as_json: bool, failed: list[str]
) -> "Iterator[Answered]":
    """The answers that there are, each printed and drawn as it passes."""
    task, names, taken = predictor.task, predictor.class_names, set[str]()
    for answered in answers:
        if answered.error:
            failed.append(answered.name)
            complain(f"error: {answered.error}")
            continue
        if as_json:
            typer.echo(json.dumps({"image": answered.name, **task.to_json(answered.answer, names)}))
        else:
            typer.echo(f"{answered.name}: {task.summary(answered.answer, names)}")
        if pictures is not None:
            stem = Path(answered.name).stem  # images of several folders may have one
            names_of = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
            taken.add(free := next(name for name in names_of if name not in taken))
            _draw(answered, predictor, pictures / f"{free}.png")
        yield answered


def _draw(answered: "Answered", predictor: "TaskPredictor", path: Path) -> None:
    from maxvit.data.images import decode
    from maxvit.storage import write_atomically

    image = decode(answered.name, predictor.preprocessing)
    picture = predictor.task.draw_prediction(image, answered.answer, predictor.class_names)
    write_atomically(path, lambda p: picture.save(p, "png"))


def evaluate_task(
    network: "TaskNetwork",
    data: str | None,
    batch_size: int,
    workers: int,
    device: str,
    precision: str,
    out: Path | None,
    as_json: bool,
    everything: bool,
) -> None:
    """Print figures and a table of classes, and write them where wanted."""
    from maxvit.data.describing import describe
    from maxvit.inference.device import choose_device
    from maxvit.inference.held_out import without_training
    from maxvit.inference.judging import judge
    from maxvit.storage import check_folder, write_text
    from maxvit.tasks import task_for

    task = task_for(network)
    if data is None:
        raise MaxViTError(f"no data is given: maxvit evaluate CHECKPOINT DATA, with the annotations of {task.name}")
    if not Path(data).exists():
        raise MaxViTError(f"{data} does not exist: check the path")
    if out is not None:
        check_folder(out)
    found = task.load_eval(Path(data), network.class_names)
    complain(describe(found))
    images, sentence = without_training(found, data, network.provenance, partial(task.load, Path(data)), everything)
    if sentence:
        complain(sentence)
    network = network.to(choose_device(device))
    result = judge(network, images, batch_size, workers, show_progress=True, precision=precision)
    for sentence in result.skipped:
        complain(f"left out: {sentence}")
    answer = {"task": task.name, "part": images.part, "images": result.images, "skipped": len(result.skipped)}
    rows = [{key: plain(value) for key, value in row.items()} for row in result.rows]
    figures = {name: plain(value) for name, value in result.figures.items()}
    text = json.dumps({**answer, "figures": figures, "classes": rows})
    if out is not None:
        write_text(out / "evaluation.json", text + "\n")
        complain(f"wrote {out / 'evaluation.json'}")
    if as_json:
        typer.echo(text)
        return
    for name, value in result.figures.items():
        typer.echo(f"{name.replace('_', ' ')} {as_text(value, '.4f')}")
    part = "all there are: those of training may be among them" if images.part == "all" else images.part
    typer.echo(f"on {result.images} of {len(images)} images ({part})")
    if result.rows:
        typer.echo("")
        cells = [tuple(_cell(value) for value in row.values()) for row in result.rows]
        print_table(tuple(key.replace("_", " ") for key in result.rows[0]), cells)


def plain(value: str | int | float) -> str | int | float | None:
    """What JSON has a word for: of figures that are no numbers, null."""
    return value if isinstance(value, str | int) else float(value) if isfinite(value) else None


def _cell(value: str | int | float) -> str:
    return as_text(value, ".3f") if isinstance(value, float) else str(value)

"""maxvit predict: classes of images, printed, or in a file where there are many."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from maxvit.cli.answers import open_task, predict_task
from maxvit.cli.errors import REQUEUE, USER_MISTAKE, complain
from maxvit.cli.options import Device, Precision
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.data.finding import Found
    from maxvit.inference.predictor import Prediction


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, the folder of a run, or an exported file.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|FOLDER...", help="Image files, or folders of them. With --out also shards, a list."
        ),
    ],
    top_k: Annotated[int | None, typer.Option(min=1, help="Classes to name for each image. Default: 3.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: 32, of other tasks 8.")] = None,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write .parquet, .csv or .jsonl, and go on if it was stopped; of other tasks what they write.",
        ),
    ] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="With --out: also features.")] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="With --out: processes that decode. Default: 0.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="With --out: processes on this machine. Default: one for each GPU, else one."),
    ] = None,
    part_size: Annotated[
        int | None, typer.Option(min=1, help="With --out: images written at a time. Default: 4096.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of other tasks: draw each answer over its image, there.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Needed where the task is a module of yours.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of other tasks: a setting of the task.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line; with --out, of the whole.")] = False,
) -> None:
    """Classify images; with the checkpoint of another task give its answers, and with --out in the format of its field.

    What cannot be read is named and the others are done; the exit code is then 2. A classifier's --out lists it in
    NAME.errors.csv, and the exit code is 0.
    """
    given = {"--embeddings": embeddings, "--workers": workers, "--devices": devices, "--part-size": part_size}
    if (network := open_task(checkpoint, task, settings)) is not None:
        other = None if engine in ("auto", "torch") else engine
        _refuse({**given, "--top-k": top_k, "--engine": other}, "classifiers: take another checkpoint")
        predict_task(network, _files(images), batch_size or 8, device, precision, pictures, out, as_json)
        return
    top_k, batch_size = top_k or 3, batch_size or 32
    if pictures is not None:
        raise MaxViTError("--pictures is for other tasks than classification: leave it out, or see maxvit explain")
    if out is not None:
        options = _Options(out, top_k, batch_size, engine, device, precision, embeddings, workers or 0, part_size)
        _write(checkpoint, images, options, devices, as_json)
        return
    _refuse(given, "a file of answers: add --out FILE")
    found, empty = _find([Path(image) for image in images])
    for sentence in empty:
        complain(f"error: {sentence}")
    files = found.images
    if not files:
        raise typer.Exit(USER_MISTAKE)
    from maxvit.inference.device import choose_device
    from maxvit.inference.predictor import Predictor
    from maxvit.inference.progress import track

    predictor = Predictor(checkpoint, top_k, batch_size, choose_device(device), engine, precision)
    _say(found, images)
    failed = 0
    for answer in track(predictor.stream(files), "predicting", show=len(files) > batch_size, total=len(files)):
        if answer.error:
            failed += 1
            complain(f"error: {answer.error}")
        elif as_json:
            typer.echo(json.dumps({"image": answer.name, "classes": _classes(answer)}))
        else:
            typer.echo(f"{answer.name}: {answer.sentence}")
    if failed < len(files):
        complain(f"engine: {predictor.engine.name}")
    if failed and len(files) > 1:
        complain(f"{failed} of {len(files)} images could not be read")
    if failed or empty:
        raise typer.Exit(USER_MISTAKE)


def _classes(answer: "Prediction") -> list[dict[str, Any]]:
    """As plain values; of a multi-label network with whether each class is answered."""
    classes: list[dict[str, Any]] = [{"class": name, "probability": p} for name, p in answer.classes]
    if answer.answered is None:
        return classes
    return [{**found, "answered": place < answer.answered} for place, found in enumerate(classes)]


def _refuse(given: Mapping[str, object], what: str) -> None:
    """Options that would do nothing."""
    if extra := [name for name, value in given.items() if value is not None and value is not False]:
        raise MaxViTError(f"{extra[0]} is for {what}, or leave {extra[0]} out")


def _files(images: list[str]) -> list[Path]:
    """All images; a folder without any is a mistake."""
    found, empty = _find([Path(image) for image in images])
    if empty:
        raise MaxViTError(empty[0])
    _say(found, images)
    return found.images


def _say(found: "Found", images: list[str]) -> None:
    """What folders hold."""
    from maxvit.data.describing import describe_images

    if any(Path(image).is_dir() for image in images):
        complain(describe_images(len(found.images), found.passed_over))


def _find(paths: list[Path]) -> "tuple[Found, list[str]]":
    """The images, and a sentence for each folder without any."""
    from maxvit.data.finding import Found, find_images, say_passed_over

    everything, empty = Found(), []
    for path in paths:
        found = find_images(path) if path.is_dir() else Found([path])  # a missing file is named when its turn comes
        if not found.images:
            empty.append(f"folder {path} holds no images{say_passed_over(found.passed_over)}")
            continue
        everything.images += found.images
        everything.passed_over += found.passed_over
    return everything, empty


class _Options(NamedTuple):
    """Of a file of answers."""

    out: Path
    top_k: int
    batch_size: int
    engine: str
    device: str
    precision: str
    embeddings: bool
    workers: int
    part_size: int | None

    def words(self) -> list[str]:
        """As they are typed."""
        values = {name.replace("_", "-"): value for name, value in self._asdict().items() if value is not None}
        embeddings = ["--embeddings"] if values.pop("embeddings") else []
        return [word for name, value in values.items() for word in (f"--{name}", str(value))] + embeddings


def _write(checkpoint: Path, images: list[str], options: _Options, devices: int | None, as_json: bool) -> None:
    """Have the file made, by this process or by one for each device."""
    from maxvit.inference.device import choose_device, how_many
    from maxvit.training.ranks import processes

    place = processes()
    if not place.started and (number := how_many(devices, options.device)) > 1:
        from maxvit.training.launch import launch

        words = ["predict", *options.words(), *["--json"] * as_json, "--", str(checkpoint), *images]
        raise typer.Exit(launch(words, number, REQUEUE))
    from maxvit.inference.bulk.predict import PART, predict_to_file

    given = options._asdict()
    given |= {"part_size": options.part_size or PART}
    given |= {"device": choose_device(options.device, place.rank % place.local_world, place.local_world)}
    written = predict_to_file(
        checkpoint,
        images,
        show_progress=place.rank == 0,
        **given,
    )
    if place.rank:
        return
    complain(f"engine: {written.engine}")
    if written.failed:
        complain(f"{written.failed} of {written.images} images could not be read: see {written.errors}")
    if as_json:
        answer = {"out": str(written.out), "errors": str(written.errors)}
        typer.echo(json.dumps({**answer, "images": written.images, "failed": written.failed}))
    else:
        typer.echo(f"wrote {written.out}: {written.images - written.failed} images")

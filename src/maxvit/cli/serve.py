"""maxvit serve: predictions over HTTP."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.errors import complain
from maxvit.cli.options import Device, Precision, Tta, split_checkpoints
from maxvit.cli.task_options import read_settings
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from maxvit.inference.predictor import Predictor
    from maxvit.search.index import ImageIndex
    from maxvit.tasks.network import Network
    from maxvit.training.example import Example


def serve(
    checkpoints: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME=]CHECKPOINT...",
            help="Checkpoints, folders of runs, exported files or published weights; by NAME, or their own. Several in "
            "one, A,B, predict together.",
        ),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: one that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0: for other machines too; then set a key.")] = "127.0.0.1",
    api_key: Annotated[
        str | None,
        typer.Option(envvar="MAXVIT_API_KEY", help="The key that clients send; better set as the variable."),
    ] = None,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    tta: Tta = "none",
    decoders: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = 2,
    max_batch: Annotated[int, typer.Option(min=1, help="Images computed at once.")] = 8,
    max_delay_ms: Annotated[float, typer.Option(min=0, help="The longest wait for others of a batch.")] = 5,
    queue: Annotated[
        int, typer.Option(min=1, help="Images queued or being processed; more are refused with 503.")
    ] = 64,
    max_images: Annotated[int, typer.Option(min=1, help="Most images in a request.")] = 32,
    max_bytes: Annotated[int, typer.Option(min=1, help="Largest body of a request.")] = 32 * 2**20,
    max_pixels: Annotated[int, typer.Option(min=1, help="Largest image, width times height.")] = 50_000_000,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds from a request to its answer.")] = 30,
    task: Annotated[
        list[str] | None, typer.Option(metavar="MODULE", help="Needed for checkpoints of a task of yours; repeatable.")
    ] = None,
    page: Annotated[bool, typer.Option("--page", help="Serve a demo page at / and the explain endpoint.")] = False,
    index: Annotated[
        Path | None,
        typer.Option(metavar="INDEX", help="What maxvit index made with one of the checkpoints: serve /similar."),
    ] = None,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to keep serving after SIGTERM; /ready answers 503.")] = 0,
) -> None:
    """Predict over HTTP: curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg' localhost:8000/predict.

    Checkpoints are of any task. The log is JSON, one line a request.
    SIGTERM: requests in hand are answered, then it ends with code 0.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of NumPy, read at its import: decoders are threads already
    from maxvit.serve.app import create_app
    from maxvit.serve.limits import Limits
    from maxvit.serve.process import bind, run

    limits = Limits(
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        max_images=max_images,
        queue=queue,
        max_batch=max_batch,
        max_delay_ms=max_delay_ms,
        timeout_s=timeout,
        decoders=decoders,
    )
    paths = _named(checkpoints)
    with bind(host, port) as listening:
        indexes = {} if index is None else _open_index(index, paths)
        models, originals = _open(paths, engine, device, precision, tta, task or [], page)
        app = create_app(
            models,
            limits=limits,
            api_key=api_key,
            originals=originals if page else None,
            examples={name: partial(_examples, path) for name, (path, *_) in paths.items()},
            indexes=indexes,
        )
        if host not in ("127.0.0.1", "::1", "localhost") and not api_key:
            complain("no API key is set, and other machines may reach this one: anybody who does gets predictions")
        run(app, listening, drain, complain)


def _open(
    paths: dict[str, list[str]], engine: str, device: str, precision: str, tta: str, modules: list[str], page: bool
) -> tuple[dict[str, "Predictor"], dict[str, "Network"]]:
    """What predicts, and for a page the networks as they are."""
    from maxvit.inference.device import choose_device
    from maxvit.inference.predictor import Predictor
    from maxvit.tasks import load

    for module in modules:
        read_settings(module, None)
    if page and (several := [name for name, found in paths.items() if len(found) > 1]):
        raise MaxViTError(f"{several[0]} is of several networks, and --page explains single ones: leave --page out")
    place = choose_device(device)
    models = {
        name: Predictor(found, device=place, engine=engine, precision=precision, tta=tta)
        for name, found in paths.items()
    }
    found = {model.task.settings.name for model in models.values()}
    for module in modules:
        if module not in found:
            raise MaxViTError(f"--task {module} was given, and the checkpoints are for {', '.join(sorted(found))}")
    return models, {name: load(path).to(place) for name, (path, *_) in paths.items() if page}


def _examples(path: str) -> "Iterator[Example]":
    """Pictures for the page to begin with, when it asks for one: training needs libraries that serving does not."""
    from maxvit.training.example import held_out_examples

    yield from held_out_examples(path)


def _open_index(index: Path, paths: dict[str, list[str]]) -> "dict[str, ImageIndex]":
    """The index, by the name of the network that made it."""
    from maxvit.search.embedder import maker_among
    from maxvit.search.index import ImageIndex

    opened = ImageIndex.open(index)
    return {maker_among(opened.manifest, paths, index): opened}


def _named(checkpoints: list[str]) -> dict[str, list[str]]:
    """NAME=CHECKPOINT or CHECKPOINT, of one or several; a file whose own name has '=' in it is found."""
    paths: dict[str, list[str]] = {}
    for given in checkpoints:
        name, is_named, path = given.partition("=")
        if not is_named or Path(given).exists():
            name, path = "-".join(Path(one).stem for one in split_checkpoints(given)), given
        if not name or "/" in name or name in paths:
            raise MaxViTError(f"{given}: the name {name!r} is empty, taken or has '/' in it; give another, NAME={path}")
        paths[name] = split_checkpoints(path)
    return paths

"""maxvit predict: what a network says of images, printed, drawn, or in a file where there are many."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.errors import REQUEUE, USER_MISTAKE, complain
from maxvit.cli.options import Checkpoints, Device, ImageColumn, Precision, Tta, split_checkpoints
from maxvit.cli.task_options import Settings, TaskName, check_task, read_settings
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from maxvit.data.finding import Found
    from maxvit.inference.bulk.predict import Written
    from maxvit.inference.predictor import Predictor


def predict(
    checkpoint: Checkpoints,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|FOLDER...", help="Image files, or folders of them. With --out also shards, a list."
        ),
    ],
    image_column: ImageColumn = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="Classes to name for each image: short for --set top_k=. Default: 5.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Name a set of classes that holds the true one so often, such as 0.9: --set coverage=."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once. Default: the task's.")] = None,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    tta: Tta = "none",
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write .parquet, .csv or .jsonl, or what the task writes; resumes an interrupted run.",
        ),
    ] = None,
    embeddings: Annotated[bool, typer.Option("--embeddings", help="With --out: also write embeddings.")] = False,
    workers: Annotated[int | None, typer.Option(min=0, help="With --out: processes that decode. Default: 0.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="With --out: processes on this machine. Default: one for each GPU, else one."),
    ] = None,
    part_size: Annotated[
        int | None,
        typer.Option(min=1, help="With --out: images written at a time. Default: 4096, or 64 of masks and boxes."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw each prediction over its image, there.")
    ] = None,
    task: TaskName = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line; with --out, of the whole.")] = False,
) -> None:
    """Predict images with a network of any task: print what it says of each, or write it to --out.

    What cannot be read is named and the others are done; the exit code is then 2. With --out it is listed in
    NAME.errors.csv, and the exit code is 0.
    """
    from maxvit.inference.device import choose_device, how_many

    checkpoints = split_checkpoints(checkpoint)
    short = {"top_k": top_k, "coverage": coverage}
    in_full = [f"{name}={value}" for name, value in short.items() if value is not None]
    chosen = read_settings(task, [*(settings or []), *in_full])

    def open_on(where: "torch.device") -> "Predictor":
        from maxvit.inference.predictor import Predictor

        predictor = Predictor(checkpoints, batch_size, where, engine, precision, chosen, tta)
        check_task(predictor.task, task, checkpoint)
        return predictor

    if out is None:
        given: dict[str, object] = {"--image-column": image_column}
        given |= {"--embeddings": embeddings, "--workers": workers, "--devices": devices, "--part-size": part_size}
        if extra := [name for name, value in given.items() if value is not None and value is not False]:
            raise MaxViTError(f"{extra[0]} is for a file of predictions: add --out FILE, or leave {extra[0]} out")
        _print(images, lambda: open_on(choose_device(device)), pictures, as_json)
        return
    from maxvit.training.ranks import processes

    place = processes()
    if not place.started and (number := how_many(devices, device)) > 1:
        from maxvit.training.launch import launch

        values: dict[str, object] = {
            "top-k": top_k,
            "coverage": coverage,
            "batch-size": batch_size,
            "engine": engine,
            "device": device,
            "precision": precision,
            "tta": tta,
        }
        values |= {
            "image-column": image_column,
            "out": out,
            "workers": workers,
            "part-size": part_size,
            "pictures": pictures,
            "task": task,
        }
        words = [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
        words += [word for setting in settings or [] for word in ("--set", setting)]
        words += ["--embeddings"] * embeddings + ["--json"] * as_json
        raise typer.Exit(launch(["predict", *words, "--", checkpoint, *images], number, REQUEUE))
    from maxvit.inference.bulk.predict import write_predictions

    predictor = open_on(choose_device(device, place.rank % place.local_world, place.local_world))
    written = write_predictions(
        predictor,
        checkpoints,
        images,
        out,
        image_column,
        workers or 0,
        embeddings,
        part_size,
        pictures,
        place.rank == 0,
    )
    if place.rank == 0:
        _tell(written, as_json)


def _print(images: list[str], open_predictor: "Callable[[], Predictor]", pictures: Path | None, as_json: bool) -> None:
    """A line for each image, and a picture where it is wanted."""
    from maxvit.data.dataset import describe_images
    from maxvit.inference.pictures import Pictures
    from maxvit.inference.progress import track

    found, empty = _find(images)
    for sentence in empty:
        complain(f"error: {sentence}")
    files = found.images
    if not files:
        raise typer.Exit(USER_MISTAKE)
    predictor = open_predictor()
    drawn = None if pictures is None else Pictures(pictures, files, list(map(str, files)), predictor)
    if any(Path(image).is_dir() for image in images):
        complain(describe_images(len(files), found.passed_over))
    failed, show = 0, len(files) > predictor.batch_size
    for i, prediction in enumerate(track(predictor.stream(files), "predicting", show, total=len(files))):
        if prediction.error:
            failed += 1
            complain(f"error: {prediction.error}")
            continue
        if as_json:
            typer.echo(json.dumps({"image": prediction.name, **prediction.to_json()}))
        else:
            typer.echo(f"{prediction.name}: {prediction.summary}")
        if drawn is not None:
            drawn.draw(i, prediction.value)
    if failed < len(files):
        complain(f"engine: {predictor.ensemble.name}")
    if failed and len(files) > 1:
        complain(f"{failed} of {len(files)} images could not be read")
    if failed or empty:
        raise typer.Exit(USER_MISTAKE)


def _find(places: list[str]) -> "tuple[Found, list[str]]":
    """The images, and a sentence for each folder without any. Raises `MaxViTError` for what is for `--out` alone."""
    from maxvit.data.finding import Found, find_images, say_passed_over
    from maxvit.data.load import kind_of

    everything, empty = Found(), []
    for place in places:
        path, kind = Path(place), kind_of(place)
        if kind == "shards" or (kind == "list" and path.is_file()):
            what = "a list" if kind == "list" else "a folder of shards"
            raise MaxViTError(
                f"{place} is read as {what}, whose predictions go into a file: add --out, such as --out predicted.csv"
            )
        found = find_images(path) if path.is_dir() else Found([path])  # a missing file is named when its turn comes
        if not found.images:
            empty.append(f"folder {path} holds no images{say_passed_over(found.passed_over)}")
            continue
        everything.images += found.images
        everything.passed_over += found.passed_over
    return everything, empty


def _tell(written: "Written", as_json: bool) -> None:
    """What was written, now or before."""
    from maxvit.inference.bulk.part_files import plan_file

    if written.was_there:
        plan = plan_file(written.out)
        complain(
            f"{written.out} was there already, and nothing was computed: where images have changed under their old "
            f"names, remove it and {plan}, and give the same command again"
        )
    else:
        complain(f"engine: {written.engine}")
    if written.failed:
        complain(f"{written.failed} of {written.images} images could not be read: see {written.errors}")
    if as_json:
        files = {"out": str(written.out), "errors": str(written.errors)}
        typer.echo(json.dumps({**files, "images": written.images, "failed": written.failed}))
    else:
        done = "" if written.was_there else "wrote "
        typer.echo(f"{done}{written.out}: {written.images - written.failed} images")

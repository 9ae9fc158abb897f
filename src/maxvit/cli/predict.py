"""maxvit predict: classes of images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.errors import USER_MISTAKE, complain


def predict(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint or exported file: it brings classes and preprocessing.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE|FOLDER...", help="Image files, or folders of them.")],
    top_k: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 3,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Classify images.

    What cannot be read is named and the others are done; the exit code is then 2.
    """
    files, empty = _find(images)
    for folder in empty:
        complain(f"error: folder {folder} holds no images")
    if not files:
        raise typer.Exit(USER_MISTAKE)
    from maxvit.inference.device import best_device
    from maxvit.inference.predictor import Predictor
    from maxvit.inference.progress import track

    predictor = Predictor(checkpoint, top_k, batch_size, best_device(), engine)
    failed = 0
    for answer in track(predictor.stream(files), "predicting", show=len(files) > batch_size, total=len(files)):
        if answer.error:
            failed += 1
            complain(f"error: {answer.error}")
        elif as_json:
            classes = [{"class": name, "probability": p} for name, p in answer.classes]
            typer.echo(json.dumps({"image": answer.name, "classes": classes}))
        else:
            typer.echo(f"{answer.name}: " + ", ".join(f"{name} {p:.1%}" for name, p in answer.classes))
    if failed < len(files):
        complain(f"engine: {predictor.engine.name}")
    if failed and len(files) > 1:
        complain(f"{failed} of {len(files)} images could not be read")
    if failed or empty:
        raise typer.Exit(USER_MISTAKE)


def _find(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """The images, and the folders without any."""
    from maxvit.data.images import find_images

    files: list[Path] = []
    empty: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)  # one that does not exist is named when its turn comes
        elif found := find_images(path):
            files += found
        else:
            empty.append(path)
    return files, empty

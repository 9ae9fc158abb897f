"""maxvit export: a checkpoint for ONNX Runtime."""

from pathlib import Path
from typing import Annotated

import typer

MOST = 512  # images to calibrate on and to judge by


def export(
    checkpoint: Annotated[Path, typer.Argument(help="What maxvit.load_model reads.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: CHECKPOINT with .onnx.")] = None,
    to: Annotated[str, typer.Option(help="The format: onnx.")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="Products of matrices in 8 bits.")] = False,
    calibrate: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Some hundred images for --int8; digits need none.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Write a network as an ONNX file, which brings classes and preprocessing: maxvit predict FILE.onnx IMAGE."""
    from maxvit.config import check_known
    from maxvit.create import load_model
    from maxvit.errors import MaxViTError
    from maxvit.export.onnx import export_onnx

    check_known("format", [to], ["onnx"])
    path = out or checkpoint.with_suffix(".onnx")
    if path.exists() and not force:
        raise MaxViTError(f"{path} exists already: choose another name with --out, or replace it with --force")
    if calibrate is not None and not int8:
        raise MaxViTError("--calibrate is for --int8, which was not given: add it, or leave --calibrate out")
    if int8:
        _quantize(checkpoint, path, calibrate)
    else:
        export_onnx(load_model(checkpoint), path)
    typer.echo(f"wrote {path}")


def _quantize(checkpoint: Path, path: Path, folder: Path | None) -> None:
    from maxvit.create import load_model
    from maxvit.data.digits import load_digits
    from maxvit.data.images import find_images
    from maxvit.errors import MaxViTError
    from maxvit.export.quantize import quantize_onnx

    model = load_model(checkpoint)
    if folder is None and model.class_names != load_digits().train.class_names:
        raise MaxViTError(f"{checkpoint} knows other classes than digits: give images of its kind with --calibrate")
    if folder is not None and not folder.is_dir():
        raise MaxViTError(f"{folder} is no folder: check the path")
    images = find_images(folder) if folder else load_digits().train.sources
    spread = [images[i] for i in range(0, len(images), -(-len(images) // MOST))] if images else []
    done = quantize_onnx(model, path, spread)
    kept = f"; {len(done.kept)} of {len(done.damage)} products stay in fp32" if done.kept else ""
    typer.echo(f"the first answer is that of fp32 for {done.agreement:.1%} of {done.judged_on} images{kept}")

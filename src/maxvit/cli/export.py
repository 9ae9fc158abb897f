"""maxvit export: a checkpoint for ONNX Runtime."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="What maxvit.load_model reads.")],
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: CHECKPOINT with .onnx.")] = None,
    to: Annotated[str, typer.Option(help="The format: onnx.")] = "onnx",
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
    export_onnx(load_model(checkpoint), path)
    typer.echo(f"wrote {path}")

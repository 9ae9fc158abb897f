"""maxvit convert: an official TensorFlow checkpoint to our own format."""

from pathlib import Path
from typing import Annotated

import typer

from maxvit.errors import MaxViTError


def convert(
    source: Annotated[Path, typer.Argument(help="An official checkpoint: its folder, prefix or .index file.")],
    target: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    image_size: Annotated[int | None, typer.Option(help="Of its fine-tuning, which its files do not say.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The raw weights, not the averaged ones.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Convert official TensorFlow weights (TensorFlow is not needed)."""
    if target.suffix != ".safetensors":
        raise MaxViTError(f"{target} does not end in .safetensors: name it {target.with_suffix('.safetensors')}")
    if target.exists() and not force:
        raise MaxViTError(f"{target} exists already: choose another name, or replace it with --force")
    from maxvit.create import load_model

    model = load_model(source, image_size=image_size, ema=not raw)
    model.save(target)
    parameters = sum(p.numel() for p in model.parameters())
    typer.echo(f"{target}: {parameters:,} parameters, {model.config.num_classes} classes")

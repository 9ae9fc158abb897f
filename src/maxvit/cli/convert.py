"""maxvit convert: any checkpoint to our own format, or to timm's."""

from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.errors import complain


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="Ours, timm's or torchvision's file, a run's folder, an official checkpoint, or published weights "
            "such as maxvit_tiny:in1k-384.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The .safetensors file to write.")],
    to: Annotated[str, typer.Option(help="native: our own file. timm: one that timm loads.")] = "native",
    image_size: Annotated[
        int | None, typer.Option(help="Windows for this size; official files do not say theirs.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The published checkpoint that it is: in1k-384, in21k-224, ...")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Use the raw weights instead of the EMA weights.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
) -> None:
    """Convert weights of any format; what SRC is, its contents say.

    An official TensorFlow checkpoint (its folder, prefix or .index file; TensorFlow is not needed), or a file that
    timm, torchvision or maxvit wrote (.safetensors, .pth, .bin, ...).
    """
    from maxvit.conversion import convert

    done = convert(source, target, to, image_size, name, ema=not raw, replace=force)
    height, width = done.config.image_size
    typer.echo(
        f"read {done.source}: {done.variant or 'a MaxViT of no published variant'}, {done.config.num_classes} classes, "
        f"{height} x {width} pixels"
    )
    if done.assumed:
        typer.echo(f"assumed: {done.assumed}")
    typer.echo(f"wrote {target}: {done.parameters:,} parameters; load it with: {done.loads_with}")
    if done.lost:
        complain(done.lost)

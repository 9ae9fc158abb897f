"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from maxvit.errors import MaxViTError

_PUBLISHED = "or published weights such as maxvit_tiny or maxvit_tiny:in1k-384."
Checkpoint = Annotated[str, typer.Argument(help=f"A checkpoint, the folder of a run, {_PUBLISHED}")]
CheckpointOrExport = Annotated[
    str,
    typer.Argument(help=f"A checkpoint, the folder of a run, an exported file, {_PUBLISHED}"),
]
Checkpoints = Annotated[
    str,
    typer.Argument(
        help=f"A checkpoint, the folder of a run, an exported file, {_PUBLISHED} Several, A,B, predict together."
    ),
]
Tta = Annotated[str, typer.Option("--tta", help="none; or flip: averaged with the mirror image, not for characters.")]
ImageColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of a list: names the images. Default: path, or the only one that fits."),
]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Of a list: the labels; several times: one each. Default: label, or the only one that fits.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto (bf16 or fp16 on a GPU, fp32 elsewhere), fp32, bf16 or fp16.")
]


def split_checkpoints(given: str) -> list[str]:
    """The checkpoints of one argument; a file whose own name has a comma in it is found.

    Raises:
        MaxViTError: If there is nothing before, between or after commas.
    """
    if Path(given).exists():
        return [given]
    if not all(found := given.split(",")):
        raise MaxViTError(f"{given!r} names no checkpoint at one of its commas: write A,B without spaces")
    return found

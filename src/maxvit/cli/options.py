"""Options that several commands have."""

from typing import Annotated

import typer

_PUBLISHED = "or published weights such as maxvit_tiny or maxvit_tiny:in1k-384."
Checkpoint = Annotated[str, typer.Argument(help=f"A checkpoint, the folder of a run, {_PUBLISHED}")]
CheckpointOrExport = Annotated[
    str,
    typer.Argument(help=f"A checkpoint, the folder of a run, an exported file, {_PUBLISHED}"),
]
Device = Annotated[str, typer.Option("--device", help="auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto (bf16 or fp16 on a GPU, fp32 elsewhere), fp32, bf16 or fp16.")
]

"""Options that several commands have."""

from typing import Annotated

import typer

Device = Annotated[str, typer.Option("--device", help="auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="auto (bf16 or fp16 on a GPU, fp32 elsewhere), fp32, bf16 or fp16.")
]

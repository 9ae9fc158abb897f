"""Options that several commands have."""

from typing import Annotated

import typer

Device = Annotated[str, typer.Option("--device", help="auto (CUDA, then MPS, then the CPU), cpu, cuda, cuda:N or mps.")]

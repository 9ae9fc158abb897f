"""The command line: one file per command, each parses, calls one function and prints."""

import io
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

import maxvit
from maxvit.cli.benchmark import benchmark
from maxvit.cli.check import check
from maxvit.cli.convert import convert
from maxvit.cli.errors import exit_code
from maxvit.cli.evaluate import evaluate
from maxvit.cli.explain import explain
from maxvit.cli.export import export
from maxvit.cli.index import index
from maxvit.cli.info import info
from maxvit.cli.list import list_models
from maxvit.cli.plan import plan
from maxvit.cli.predict import predict
from maxvit.cli.report import report
from maxvit.cli.search import search
from maxvit.cli.serve import serve
from maxvit.cli.shard import shard
from maxvit.cli.train import train

app = typer.Typer(
    name="maxvit",
    help="MaxViT, the multi-axis vision transformer: train, evaluate, predict, explain.",
    epilog="Start with: maxvit train (real handwritten digits, a few minutes on a laptop)",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # texts are shown as they are: rich would take [explain] for a style
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
app.command()(train)
app.command()(check)
app.command()(plan)
app.command()(evaluate)
app.command()(predict)
app.command()(explain)
app.command()(report)
app.command()(index)
app.command()(search)
app.command()(info)
app.command("list")(list_models)
app.command()(convert)
app.command()(benchmark)
app.command()(export)
app.command()(shard)
app.command()(serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maxvit {maxvit.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: What follows `maxvit`; None: those of this process.

    Returns:
        The exit code: 0 done, 2 a mistake in what was given, 1 a bug in maxvit, 130 interrupted.
    """
    if sys.platform == "darwin":  # read once, when PyTorch is imported: what MPS lacks is computed on the CPU
        os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    warnings.filterwarnings("ignore", module=r"PIL\b")  # of odd tags; workers do so themselves, see quiet_pillow
    return exit_code(lambda: app(arguments, prog_name="maxvit", standalone_mode=False))

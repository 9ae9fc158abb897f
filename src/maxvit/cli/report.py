"""maxvit report: the page of a run."""

from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.options import Device


def report(
    run: Annotated[Path, typer.Argument(help="The folder that maxvit train wrote.")],
    device: Device = "auto",
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a run's report, one HTML file.

    Metrics with their intervals, curves, predictions and attention maps of some images, the table of classes and the
    configuration; to classify also confusions, calibration and the worst mistakes.
    """
    from maxvit.report.run import report_run

    page, content = report_run(run, show_progress=True, device=device)
    typer.echo(f"{content.headline}\nreport: {page}")
    if open_it:
        typer.launch(page.resolve().as_uri())

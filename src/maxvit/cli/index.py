"""maxvit index: make a folder of pictures searchable by example."""

import json
from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.errors import USER_MISTAKE, complain
from maxvit.cli.options import Device


def index(
    photos: Annotated[Path, typer.Argument(help="A folder; every picture below it is taken.")],
    out: Annotated[Path, typer.Option(metavar="INDEX", help="The folder to make, or an index to bring up to date.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|CHECKPOINT",
            help="A checkpoint, the folder of a run, or published weights. Default: published weights, else those of "
            "the package.",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once. Default: the task's.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Embed every picture of a folder, for maxvit search.

    Call it again after pictures were added, changed or removed, or after it was interrupted: only what is new or
    changed is embedded. What cannot be read is named and the others are done; the exit code is then 2.
    """
    from maxvit.search.build import build_index

    built = build_index(photos, out, model, workers=workers, batch_size=batch_size, device=device, show_progress=True)
    for sentence in built.unreadable:
        complain(f"error: {sentence}")
    if as_json:
        numbers = {"images": built.images, "new": built.new, "changed": built.changed, "removed": built.removed}
        typer.echo(json.dumps({"out": str(out), "model": built.model, **numbers, "unreadable": list(built.unreadable)}))
    else:
        typer.echo(
            f"{out}: {built.images:,} pictures ({built.new:,} new, {built.changed:,} changed, {built.removed:,} "
            f"removed), by {built.model}"
        )
    if built.unreadable:
        complain(f"{len(built.unreadable)} images could not be read")
        raise typer.Exit(USER_MISTAKE)

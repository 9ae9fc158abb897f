"""maxvit list: the variants."""

import json
from typing import Annotated

import typer

from maxvit.cli.tables import print_table
from maxvit.config import VARIANTS


def list_models(as_json: Annotated[bool, typer.Option("--json", help="Names only, as JSON.")] = False) -> None:
    """List the variants."""
    if as_json:
        typer.echo(json.dumps(list(VARIANTS)))
        return
    rows = [
        (name, str(c.stem_channels), _listed(c.channels), _listed(c.depths), f"{c.image_size[0]} x {c.image_size[1]}")
        for name, c in VARIANTS.items()
    ]
    print_table(("name", "stem", "channels", "blocks", "image size"), rows)


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in numbers)

"""maxvit list: the variants, and the published weights."""

import dataclasses
import json
from typing import Annotated

import typer

from maxvit.cli.tables import print_table
from maxvit.config import VARIANTS


def list_models(
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The published weights of each.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; of the variants their names only.")] = False,
) -> None:
    """List the variants, or the weights that are published of them."""
    if pretrained:
        _list_published(as_json)
        return
    if as_json:
        typer.echo(json.dumps(list(VARIANTS)))
        return
    rows = [
        (name, str(c.stem_channels), _listed(c.channels), _listed(c.depths), f"{c.image_size[0]} x {c.image_size[1]}")
        for name, c in VARIANTS.items()
    ]
    print_table(("name", "stem", "channels", "blocks", "image size"), rows)


def _list_published(as_json: bool) -> None:
    from maxvit.checkpoints.published import PUBLISHED

    if as_json:
        typer.echo(json.dumps([{**dataclasses.asdict(row), "address": row.address} for row in PUBLISHED]))
        return
    rows = [
        (r.variant, r.tag, str(r.resolution), f"{r.classes:,}", f"{r.top1:.2f}" if r.top1 else "", r.address)
        for r in PUBLISHED
    ]
    print_table(("name", "tag", "resolution", "classes", "top-1", "where"), rows)
    typer.echo('\nuse: maxvit.create_model("maxvit_tiny", pretrained="in1k-384")')


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in numbers)

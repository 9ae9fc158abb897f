"""maxvit list: the variants, the published weights, the recipes."""

import dataclasses
import json
from typing import Annotated

import typer

from maxvit.cli.console import print_table
from maxvit.config import VARIANTS


def list_models(
    pretrained: Annotated[bool, typer.Option("--pretrained", help="The published weights of each.")] = False,
    recipes: Annotated[bool, typer.Option("--recipes", help="The recipes to train by.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON; of variants and recipes their names only.")] = False,
) -> None:
    """List the variants, their published weights, or the training recipes."""
    if pretrained:
        _list_published(as_json)
        return
    if recipes:
        _list_recipes(as_json)
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


def _list_recipes(as_json: bool) -> None:
    from maxvit.training.recipe import list_recipes as names
    from maxvit.training.recipe import recipe_text

    if as_json:
        typer.echo(json.dumps(names()))
        return
    print_table(("recipe", "what"), [(name, recipe_text(name).splitlines()[0].lstrip("# ")) for name in names()])
    typer.echo("\nuse: maxvit train DATA --recipe NAME; maxvit train --recipe NAME --show-recipe says every setting")


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in numbers)

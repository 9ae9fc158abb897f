"""maxvit explain: what an answer rests on, drawn over the image."""

import json
from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.options import Device


def explain(
    checkpoint: Annotated[Path, typer.Argument(help="What maxvit.load_model reads: a file, or the folder of a run.")],
    image: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write pictures and maps.npz.")],
    wanted: Annotated[
        str | None, typer.Option("--class", metavar="NAME|INDEX", help="The class to explain. Default: the answer.")
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="X,Y", help="A pixel of picture.png: show what it attends to, layer by layer.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="Some of attention, rollout, class-rollout, gradcam, gradients, with commas between.")
    ] = "rollout,class-rollout",
    score: Annotated[
        bool, typer.Option("--score", help="Measure each map: blur what it shows, and see the answer change.")
    ] = False,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what an answer rests on: maps over the image as PNG and SVG, and their numbers.

    gradcam and gradients (integrated gradients) need captum: pip install 'maxvit[explain]'.
    """
    from maxvit.create import load_model
    from maxvit.explain.explain_image import explain_image
    from maxvit.explain.target import find_class
    from maxvit.inference.device import choose_device
    from maxvit.inference.engines import tell_assumed

    place = _parse(point) if point is not None else None
    model = load_model(checkpoint).to(choose_device(device))
    tell_assumed(checkpoint, model.provenance)
    target = find_class(model, wanted) if wanted is not None else None
    methods = [name for name in method.split(",") if name]
    found = explain_image(model, image, out, target, place, methods, score)
    if as_json:
        answer = {
            "image": str(image),
            "class": found.predicted,
            "probability": found.probability,
            "answers": [{"class": name, "probability": p} for name, p in found.answers],
            "explained": found.explained,
            "explained_probability": found.explained_probability,
            "height": found.size[0],
            "width": found.size[1],
            "files": [str(path) for path in found.files],
            "scores": {name: {"deletion": s.deletion, "insertion": s.insertion} for name, s in found.scores.items()},
        }
        typer.echo(json.dumps(answer))
        return
    answers = ", ".join(f"{name} ({p:.1%})" for name, p in found.answers)
    typer.echo(f"answer: {answers or f'none (highest: {found.predicted} {found.probability:.1%})'}")
    typer.echo(f"explained: {found.explained} ({found.explained_probability:.1%})")
    for name, s in found.scores.items():
        typer.echo(
            f"{name}: deletion {s.deletion:.3f} (lower is better), insertion {s.insertion:.3f} (higher is better)"
        )
    for path in found.files:
        typer.echo(f"wrote {path}")


def _parse(point: str) -> tuple[int, int]:
    from maxvit.errors import MaxViTError

    try:
        x, y = (int(number) for number in point.split(","))
    except ValueError as error:
        raise MaxViTError(
            f"the point is {point!r}; it takes X,Y in whole pixels of the network's picture: 12,34"
        ) from error
    return x, y

"""maxvit explain: what a prediction rests on, drawn over the image."""

import json
from pathlib import Path
from typing import Annotated

import typer

from maxvit.cli.options import Checkpoint, Device
from maxvit.cli.task_options import Settings, TaskName, check_task, read_settings


def explain(
    checkpoint: Checkpoint,
    image: Annotated[Path, typer.Argument(help="An image file.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to write pictures and maps.npz.")],
    wanted: Annotated[
        str | None, typer.Option("--class", metavar="NAME|INDEX", help="To explain. Default: the most probable one.")
    ] = None,
    point: Annotated[
        str | None, typer.Option(metavar="X,Y", help="A pixel of picture.png: show what it attends to, layer by layer.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="One or more of attention, rollout, class-rollout, gradcam, gradients, comma-separated. "
            "Default: both rollouts, or rollout where a whole image has no class."
        ),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="Measure each map: blur what it shows, and see the prediction change.")
    ] = False,
    device: Device = "auto",
    task: TaskName = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a prediction rests on: maps over the image as PNG and SVG, and their numbers.

    class-rollout, gradcam, gradients and --score take a network that gives an image as a whole a class.
    gradcam and gradients (integrated gradients) need captum: pip install 'maxvit[explain]'.
    """
    from maxvit.explain.explain_image import explain_image
    from maxvit.explain.target import find_class
    from maxvit.inference.device import choose_device
    from maxvit.inference.engines import tell_assumed
    from maxvit.tasks import load, task_for

    place, values = _parse(point) if point is not None else None, read_settings(task, settings)
    network = load(checkpoint, values).to(choose_device(device))
    check_task(task_for(network), task, checkpoint)
    tell_assumed(checkpoint, network.provenance)
    target = find_class(network, wanted) if wanted is not None else None
    methods = None if method is None else [name for name in method.split(",") if name]
    found = explain_image(network, image, out, target, place, methods, score, values)
    if as_json:
        answer = {
            "image": str(image),
            "task": found.prediction.task.name,
            "prediction": found.prediction.to_json(),
            "summary": found.prediction.summary,
            "explained": found.explained,
            "explained_probability": found.explained_probability,
            "height": found.size[0],
            "width": found.size[1],
            "shown": found.shown,
            "files": [str(path) for path in found.files],
            "scores": {name: {"deletion": s.deletion, "insertion": s.insertion} for name, s in found.scores.items()},
        }
        typer.echo(json.dumps(answer))
        return
    typer.echo(f"prediction: {found.prediction.summary}")
    if found.explained is not None:
        typer.echo(f"explained: {found.explained} ({found.explained_probability:.1%})")
    for name, s in found.scores.items():
        typer.echo(
            f"{name}: deletion {s.deletion:.3f} (lower is better), insertion {s.insertion:.3f} (higher is better)"
        )
    if found.shown:
        typer.echo(f"pictures show {found.shown}")
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

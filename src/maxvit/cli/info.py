"""maxvit info: how large a network is, and what a checkpoint says of itself."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maxvit.cli.console import print_table
from maxvit.config import VARIANTS

if TYPE_CHECKING:
    from maxvit.summary import Summary
    from maxvit.tasks.network import Network


def info(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL|CHECKPOINT]",
            help="A variant; or a file, the folder of a run, or published weights such as maxvit_tiny:in1k-384.",
        ),
    ] = "maxvit_tiny",
    image_size: Annotated[int | None, typer.Option(help="Pixels a side, with windows of ceil(side / 32).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how large a network is: parameters, multiply-adds and memory, stage by stage."""
    from maxvit.summary import summarize

    network = _open(model, image_size)
    summary = summarize(network)
    described = _describe(network)
    if as_json:
        typer.echo(json.dumps({"model": model, **dataclasses.asdict(summary), **described}))
        return
    _print(model, summary)
    for key, value in described.items():
        words = _listed(value) if key == "classes" else value
        typer.echo(f"{key.replace('_', ' ')}: {words}")


def _open(model: str, image_size: int | None) -> "Network":
    import torch

    from maxvit.create import create_model
    from maxvit.tasks import load
    from maxvit.tasks.network import backbone_of

    if model in VARIANTS or not (Path(model).exists() or model.endswith(".safetensors") or set(model) & set("/:")):
        with torch.device("meta"):
            return create_model(model, image_size=image_size)  # names the variants if it is none of them
    network = load(model)
    if image_size is not None:
        backbone_of(network).set_image_size(image_size)
    return network


def _describe(network: "Network") -> dict[str, Any]:
    """What a checkpoint knows besides its shape."""
    from maxvit.data.bands import say_shown
    from maxvit.data.value_range import say_ranges
    from maxvit.tasks import task_for
    from maxvit.tasks.classification.conformal import COVERAGES

    known: dict[str, Any] = {}
    if settings := network.metadata().get("task"):
        known["task"], known["settings"] = settings["name"], {k: v for k, v in settings.items() if k != "name"}
        if said := task_for(network).says(network.preprocessing):
            known["training"] = said
    if network.class_names:
        known["classes"] = network.class_names
    config = network.config
    if config.multi_label:
        known["answers"] = f"each class by itself (sigmoid), from {config.threshold:.3g} up"
    if config.temperature != 1:
        known["temperature"] = f"{config.temperature:.3g} divides the logits, for confidence that can be believed"
    if config.set_thresholds:
        known["sets_of_classes"] = f"for a coverage of up to {100 * COVERAGES[len(config.set_thresholds) - 1]:g}%"
    if config.novelty_centres:
        known["none_of_these"] = "it tells images that are unlike those of training"
    if shown := say_shown(network.preprocessing):
        known["pictures"] = f"show {shown}"
    if len(ranges := network.preprocessing.ranges) == 1:
        low, high = ranges[0]
        known["above_8_bits"] = f"{low:.10g} is black and {high:.10g} white"
    elif ranges:
        known["above_8_bits"] = f"from black to white, {say_ranges(ranges)}"
    metrics = [key for key in network.provenance if key.startswith("val_")]
    for key in ("epoch", *metrics, "data", "date", "command", "converted_from", "source", "assumed"):
        if network.provenance.get(key) not in (None, ""):
            known[key] = network.provenance[key]
    return known


def _listed(names: list[str]) -> str:
    """All of a few names, of more the first."""
    return ", ".join(names) if len(names) <= 20 else f"{len(names):,}, such as {', '.join(names[:5])}"


def _print(name: str, summary: "Summary") -> None:
    height, width = summary.image_size
    typer.echo(f"{name}, for one image of {height} x {width} pixels\n")
    rows = [
        (
            part.name,
            str(part.blocks or ""),
            " x ".join(str(n) for n in part.output),
            f"{part.parameters:,}",
            f"{part.multiply_adds / 1e6:,.1f} M",
        )
        for part in summary.parts
    ]
    rows.append(("in all", "", "", f"{summary.parameters:,}", f"{summary.multiply_adds / 1e6:,.1f} M"))
    print_table(("part", "blocks", "output", "parameters", "multiply-adds"), rows)
    typer.echo(
        f"\nweights {summary.weight_bytes / 1e6:,.1f} MB; to train, {summary.training_bytes / 1e6:,.1f} MB an image"
    )
    if summary.not_counted:
        typer.echo(f"not counted: {summary.not_counted}")

"""maxvit info: how large a network is, and what a checkpoint says of itself."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maxvit.cli.console import print_table
from maxvit.config import VARIANTS
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.model import MaxViT
    from maxvit.summary import Summary


def info(
    model: Annotated[
        str, typer.Argument(metavar="[MODEL|CHECKPOINT]", help="A name, a file, or the folder of a run.")
    ] = "maxvit_tiny",
    image_size: Annotated[int | None, typer.Option(help="Pixels a side, with windows of ceil(side / 32).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how large a network is: parameters, multiply-adds and memory, stage by stage."""
    from maxvit.summary import summarize

    if (task := _task(model)) is not None:
        if image_size is not None:
            raise MaxViTError("--image-size is for classifiers: leave it out")
        typer.echo(json.dumps({"model": model, **task}) if as_json else "\n".join(f"{k}: {v}" for k, v in task.items()))
        return
    network = _open(model, image_size)
    summary = summarize(network)
    described = _describe(network)
    if as_json:
        typer.echo(json.dumps({"model": model, **dataclasses.asdict(summary), **described}))
        return
    _print(model, summary)
    for key, value in described.items():
        typer.echo(f"{key.replace('_', ' ')}: {value}")


def _task(path: str) -> dict[str, Any] | None:
    """What a checkpoint of another task than classification says of itself; None: it is no such."""
    from maxvit import storage, tasks

    if (name := tasks.task_of(path)) == tasks.CLASSIFICATION:
        return None
    tensors, metadata = storage.load(path)
    numbers = sum(t.numel() for n, t in tensors.items() if not n.endswith(("running_mean", "running_var", "_tracked")))
    known = {"task": name, "parameters": numbers, "settings": metadata["task"]}
    known |= {"classes": metadata["class_names"], "image size": metadata["preprocessing"]["image_size"]}
    return known | {
        k: v for k, v in (metadata.get("provenance") or {}).items() if k in ("epoch", "data", "date", "command")
    }


def _open(model: str, image_size: int | None) -> "MaxViT":
    import torch

    from maxvit.create import create_model, load_model

    if model in VARIANTS or not (Path(model).exists() or "/" in model or model.endswith(".safetensors")):
        with torch.device("meta"):
            return create_model(model, image_size=image_size)  # names the variants if it is none of them
    return load_model(model, image_size=image_size)


def _describe(network: "MaxViT") -> dict[str, Any]:
    """What a checkpoint knows beside its shape."""
    known: dict[str, Any] = {}
    if network.class_names:
        known["classes"] = network.class_names
    if network.config.multi_label:
        known["answers"] = f"each class by itself (sigmoid), from {network.config.threshold:.3g} up"
    if (value_range := network.preprocessing.value_range) is not None:
        low, high = value_range
        known["above_8_bits"] = f"{low:.10g} is black and {high:.10g} white"
    for key in ("epoch", "val_accuracy", "val_mAP", "data", "date", "command", "converted_from", "assumed"):
        if network.provenance.get(key) not in (None, ""):
            known[key] = network.provenance[key]
    return known


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

"""maxvit plan: what a training will need, before anything is spent."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, cast

import typer

from maxvit.cli.console import print_table
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.plan.cost import Plan, Way
    from maxvit.plan.devices import Device, Precision
    from maxvit.summary import Summary

DAY_S = 86400


def plan(
    recipe: Annotated[str, typer.Option(help="A recipe's name or YAML file.")],
    devices: Annotated[
        str,
        typer.Option(help="COUNTxDEVICE: 64xH100, 8xA100-80, H100. Also H200, B200, A100-40, L4, RTX4090, V100, cpu."),
    ],
    model: Annotated[str | None, typer.Option(help="A variant's name. Default: the recipe's.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override the recipe: data.batch_size=4096."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Training images. Default: counted in the recipe's data.path, or as published."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="bf16, fp16 (autocast) or fp32 (TF32 where a GPU has it). Default: as auto trains."),
    ] = None,
    images_per_core: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Decoded and augmented a second by a processor core. Default: 133, as measured."
        ),
    ] = None,
    peak: Annotated[
        float | None, typer.Option(metavar="GFLOPS", help="Of cpu. Default: measured here, which takes a second.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a training will need, whatever the task: memory, operations, data, days.

    Counted from the network's shape, not measured. A step is 3 forwards of operations, 4 with gradient checkpointing;
    time is operations over an assumed share of the data sheet's peak. Every device holds weights, gradients, two
    moments of AdamW and an average of the weights in fp32 (with engine.strategy=fsdp2 its share of them), the
    activations of one forward, and a workspace. Formulae, and how far they are from measurements: docs/plan.md.
    """
    from maxvit.plan.cost import IMAGES_PER_CORE
    from maxvit.plan.devices import parse_devices
    from maxvit.plan.recipe import plan_recipe, training_images
    from maxvit.training.recipe import load_recipe

    overrides = [*([f"model.name={model}"] if model else []), *(settings or [])]
    chosen = load_recipe(recipe, overrides)
    on = parse_devices(devices, _cpu(devices, peak))
    found = training_images(recipe, chosen, images)
    chosen_precision = cast("Precision", precision or on.device.precision)
    per_core = IMAGES_PER_CORE[0] if images_per_core is None else images_per_core
    made, summary = plan_recipe(chosen, found, on, chosen_precision, per_core)
    if as_json:
        known = {"recipe": recipe, "model": chosen.model.name, "task": chosen.task["name"]}
        known |= {"image_size": summary.image_size, "data": found.source}
        typer.echo(json.dumps({**known, **dataclasses.asdict(made)}))
        return
    _print(f"{chosen.model.name} by {recipe}", found.source, made, summary)


def _cpu(devices: str, peak: float | None) -> "Device | None":
    """What "cpu" means, where it is asked for."""
    if not devices.strip().lower().endswith("cpu"):
        if peak is not None:
            raise MaxViTError(f"--peak is that of cpu, and {devices} was given: leave it out")
        return None
    from maxvit.benchmark.machine import matrix_product_flops
    from maxvit.plan.devices import machine_memory_bytes, this_cpu

    return this_cpu(matrix_product_flops("cpu", "fp32") if peak is None else peak * 1e9, machine_memory_bytes())


def _print(what: str, source: str, plan: "Plan", summary: "Summary") -> None:
    schedule, (height, width) = plan.schedule, summary.image_size
    again = "with" if schedule.gradient_checkpointing else "without"
    typer.echo(f"{what}, on {plan.devices}, {plan.precision}\n")
    facts = {
        "network": f"{summary.parameters:,} parameters, {_si(summary.multiply_adds)} multiply-adds an image",
        "data": f"{schedule.images:,} images, {source}; trained at {height} x {width}",
        "steps": f"{plan.steps:,} of {schedule.batch_size:,} images in {schedule.epochs:,} epochs, the first "
        f"{plan.warmup_steps:,} warm-up; the recipe is {again} gradient checkpointing",
        "files": f"{_si(plan.checkpoint_bytes, 'B')} a checkpoint, {_si(plan.state_bytes, 'B')} to resume",
        "a device": f"{_si(plan.peak_flops, 'FLOP/s')} at most, {_si(plan.usable_bytes, 'B')} of memory to use",
    }
    for name, fact in facts.items():
        typer.echo(f"{name:<9} {fact}")
    typer.echo("")
    titles = ["with checkpointing" if way.gradient_checkpointing else "without" for way in plan.ways]
    columns = [_column(way, plan) for way in plan.ways]
    print_table(("", *titles), [(name, *(column[name] for column in columns)) for name in columns[0]])
    typer.echo("")
    for way, title in zip(plan.ways, titles, strict=True):
        if not way.fits:
            typer.echo(f"{title} it does not fit: {way.advice}")
    typer.echo("\n".join(plan.assumptions))


def _column(way: "Way", plan: "Plan") -> dict[str, str]:
    """What is said of one way, row by row."""
    memory, step = way.memory, way.step_flops
    return {
        "images at once, a device": f"{way.images:,}",
        "forwards a step": f"{way.accumulation:,}",
        "memory: weights": _si(memory.weights, "B"),
        "  gradients": _si(memory.gradients, "B"),
        "  optimiser": _si(memory.optimizer, "B"),
        "  averaged weights": _si(memory.average, "B"),
        "  activations": _si(memory.activations, "B"),
        "  workspace": _si(memory.workspace, "B"),
        "  in all, a device": _si(memory.total, "B"),
        "  fits": "yes" if way.fits else "no",
        "operations: a step": _si(step, "FLOP"),
        "  in all": _si(step * plan.steps, "FLOP"),
        "  time of a step": f"{_time(way.step_s[0])} to {_time(way.step_s[1])}",
        "data: images/s": f"{way.images_per_s:,.0f}",
        "  images/s, a device": f"{way.images_per_s / plan.count:,.0f}",
        "  from storage, a second": _si(way.storage_bytes_per_s, "B"),
        "  cores to decode": f"{way.cores:,}",
        "training takes": f"{_time(DAY_S * way.days[0])} to {_time(DAY_S * way.days[1])}",
    }


def _si(value: float, unit: str = "") -> str:
    """Three digits and a prefix: 1234 B is 1.23 kB."""
    prefixes = iter(("", "k", "M", "G", "T", "P", "E", "Z"))
    prefix = next(prefixes)
    while value >= 999.5:
        value, prefix = value / 1000, next(prefixes)
    return f"{value:.3g} {prefix}{unit}".rstrip()


def _time(seconds: float) -> str:
    """In days where it is two or more, else in hours, minutes, seconds or milliseconds."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}" if seconds >= 100 * length else f"{seconds / length:.3g} {unit}"
    return f"{1e3 * seconds:.3g} ms"

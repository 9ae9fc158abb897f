"""maxvit benchmark: how fast it is here, beside what else is installed."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from maxvit.cli.console import print_table
from maxvit.cli.errors import complain

if TYPE_CHECKING:
    from maxvit.benchmark.job import Precision, What
    from maxvit.benchmark.record import Record

DEFAULT_OURS = {"inference": ["eager", "optimized"], "training": ["eager", "accelerated"]}
DEFAULT_AGAINST = ["timm", "timm-channels-last", "torchvision"]


def benchmark(
    model: Annotated[str, typer.Option(help="A variant's name: see maxvit list.")] = "maxvit_tiny",
    what: Annotated[
        list[str] | None, typer.Option(metavar="TASK", help="inference (default) or training; may be repeated.")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(metavar="N", help="Images a run; may be repeated. Default: 1 and 8.")
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="SIDE|HEIGHTxWIDTH", help="Pixels of the images; may be repeated. Default: 224."),
    ] = None,
    ours: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="eager, optimized, compiled, fp16, int8, onnxruntime, onnxruntime-int8, accelerated (training), "
            "checkpointing (training); may be repeated. Default: eager, and optimized or accelerated.",
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="timm, timm-checkpointing (training), timm-channels-last, timm-compiled, "
            "timm-compiled-channels-last, timm-onnxruntime, timm-openvino, timm-openvino-plain (without its fused "
            "attention), torchvision, torchvision-channels-last, or all; may be repeated. Default: timm, "
            "timm-channels-last, torchvision.",
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Timed runs of each contender.")] = 15,
    precision: Annotated[str, typer.Option(help="fp32 or bf16 (autocast).")] = "fp32",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is a GPU.")] = "cpu",
    threads: Annotated[int | None, typer.Option(help="On the CPU. Default: as many as PyTorch takes.")] = None,
    busy: Annotated[
        int, typer.Option(metavar="N", help="Time all once more beside N processes that keep cores busy.")
    ] = 0,
    profile: Annotated[bool, typer.Option("--profile", help="Where the time goes, by PyTorch's operators.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="PREFIX", help="Write PREFIX.json, PREFIX.md and PREFIX.png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Measure speed and memory beside timm and torchvision: same weights, compared first, timed in turn.

    Engines that run exported files are faster, and take minutes to export: add --ours onnxruntime and --against
    timm-onnxruntime. What cannot be measured is said, with the reason.
    """
    from maxvit.benchmark.files import check_prefix, write_record
    from maxvit.benchmark.plan import Plan, find_ours, find_peers, read_size
    from maxvit.benchmark.run import benchmark
    from maxvit.inference.device import choose_device

    if device == "auto":
        device = "cuda" if choose_device().type == "cuda" else "cpu"
    what = what or ["inference"]
    plan = Plan(
        model=model,
        ours=find_ours(ours or [name for task in what for name in DEFAULT_OURS.get(task, [])]),
        theirs=find_peers(against or DEFAULT_AGAINST),
        what=cast("list[What]", what),
        batches=batch or [1, 8],
        sizes=[read_size(text) for text in size or ["224"]],
        rounds=rounds,
        precision=cast("Precision", precision),
        device=device,
        threads=threads,
        profile=profile,
        busy=busy,
    )
    if out is not None:
        check_prefix(out)
    command = shlex.join(["maxvit", *sys.argv[1:]])
    record = benchmark(plan, command, complain, lambda r: write_record(r, out) if out else None)
    if as_json:
        typer.echo(json.dumps(record.to_dict()))
    else:
        _print(record)
    if out is not None:
        complain(f"wrote {out}.json, {out}.md and {out}.png")


def _print(record: "Record") -> None:
    from maxvit.benchmark import page

    for case in record.cases:
        typer.echo(f"{case.title}\n")
        if case.entries:
            print_table(page.ENTRIES, page.entry_rows(case))
            typer.echo("")
        if case.pairs:
            print_table(page.PAIRS, page.pair_rows(case))
            typer.echo("")
        if case.busy and case.entries:
            typer.echo(f"{page.beside(case)}\n")
            print_table(page.BUSY, page.busy_rows(case))
            typer.echo("")
            if case.pairs:
                print_table(page.PAIRS, page.busy_pair_rows(case))
                typer.echo("")
        for entry in case.entries:
            if entry.operators:
                typer.echo(f"where the time goes in {page.name_of(entry)}\n")
                print_table(page.OPERATORS, page.operator_rows(entry))
                typer.echo("")
        for sentence in page.missing(case):
            typer.echo(sentence)
    typer.echo("\n".join(f"{heading}: {text}" for heading, text in record.about.items()))

"""maxvit evaluate: the accuracy of a checkpoint."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.errors import complain
from maxvit.cli.tables import print_table

if TYPE_CHECKING:
    from maxvit.inference.evaluation import Evaluation


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(help="What maxvit train wrote, RUN/best.safetensors; or an .onnx file.")
    ],
    data: Annotated[
        Path | None, typer.Argument(help="A folder of class folders; without it, the 360 held-out digits.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Measure accuracy, with its 95 % interval, and each class."""
    from maxvit.data.digits import load_digits
    from maxvit.data.folder import held_out_folder, read_classes
    from maxvit.inference.device import best_device
    from maxvit.inference.engines import open_engine
    from maxvit.inference.evaluate import evaluate as measure

    opened = open_engine(checkpoint, engine, best_device())
    if data is None:
        images = load_digits().test
        assert images is not None
    else:
        images = read_classes(held_out_folder(data), opened.class_names)
    result = measure(opened, images, batch_size, workers, show_progress=True)
    for sentence in result.skipped:
        complain(f"left out: {sentence}")
    complain(f"engine: {opened.name}")
    if as_json:
        typer.echo(json.dumps({"engine": opened.name, **_as_dict(result)}))
    else:
        _print(result)


def _as_dict(result: "Evaluation") -> dict[str, object]:
    return {
        "images": len(result.labels),
        "accuracy": result.accuracy,
        "interval_95": list(result.interval),
        "top_5_accuracy": result.top_k_accuracy(5),
        "loss": result.loss,
        "skipped": len(result.skipped),
        "per_class": result.per_class(),
    }


def _print(result: "Evaluation") -> None:
    low, high = result.interval
    typer.echo(f"accuracy {result.accuracy:.2%} on {len(result.labels)} images (95 % interval {low:.2%} to {high:.2%})")
    if len(result.class_names) > 5:
        typer.echo(f"top-5 accuracy {result.top_k_accuracy(5):.2%}")
    typer.echo(f"loss {result.loss:.4f}\n")
    rows = [
        (str(r["name"]), str(r["images"]), f"{r['precision']:.1%}", f"{r['recall']:.1%}", f"{r['f1']:.1%}")
        for r in result.per_class()
    ]
    print_table(("class", "images", "precision", "recall", "f1"), rows)

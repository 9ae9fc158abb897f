"""maxvit evaluate: how often a checkpoint is right, and how far its confidence can be believed."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxvit.cli.answers import evaluate_task, open_task
from maxvit.cli.console import as_text, print_table
from maxvit.cli.errors import complain
from maxvit.cli.options import Device, Precision
from maxvit.cli.sizes import read_size
from maxvit.errors import MaxViTError

if TYPE_CHECKING:
    from maxvit.inference.evaluation import Evaluation
    from maxvit.inference.multi_label import MultiLabelEvaluation


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint, the folder of a run, or an exported file.")],
    data: Annotated[
        str | None,
        typer.Argument(help="As for maxvit train. Without it, a classifier's held-out digits."),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="H|HxW", help="Pixels of the images; several times: each, and all together."),
    ] = None,
    scale_windows: Annotated[
        bool, typer.Option("--scale-windows", help="Windows of ceil(side / 32) at each --size.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Of data without a test or val part, also the images of training.")
    ] = False,
    tta: Annotated[
        str, typer.Option(help="none; or flip: averaged with the mirror image, not for characters.")
    ] = "none",
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write evaluation.json there, and a classifier's predictions.csv."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Default: 64, of other tasks 8.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
    engine: Annotated[str, typer.Option(help="auto: the file decides. torch or onnxruntime: that one.")] = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    task: Annotated[str | None, typer.Option(help="Needed where the task is a module of yours.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of other tasks: a setting of the task.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Measure a network: accuracy and calibration, with their 95 % intervals, and each class.

    Where images have several labels each, mean average precision and F1; for other tasks their own metrics.

    It is judged by the test part of DATA, else by its validation part. If the network was trained on DATA without such
    parts, by the images that training held out; on other data by all.
    """
    if (network := open_task(checkpoint, task, settings)) is not None:
        if size or scale_windows or tta != "none" or engine != "auto":
            raise MaxViTError("--size, --scale-windows, --tta and --engine are for classifiers: leave them out")
        evaluate_task(network, data, batch_size or 8, workers, device, precision, out, as_json, everything)
        return
    from maxvit.data.builtin import load_digits
    from maxvit.data.describing import describe
    from maxvit.data.load import load_eval, load_images
    from maxvit.inference.device import choose_device
    from maxvit.inference.engines import open_sizes
    from maxvit.inference.evaluate import evaluate_sizes, size_name
    from maxvit.inference.held_out import without_training
    from maxvit.inference.records import as_dict, write_records
    from maxvit.storage import check_folder

    sizes = [read_size(text) for text in size or []]
    if scale_windows and not sizes:
        raise MaxViTError("--scale-windows is for --size, which was not given: add it, or leave --scale-windows out")
    if out is not None:
        check_folder(out)
    engines = open_sizes(checkpoint, sizes, scale_windows, engine, choose_device(device), precision)
    opened = next(iter(engines.values()))
    if data is None:
        if everything:
            raise MaxViTError("--all is for DATA, which was not given: leave it out")
        images = load_digits().test
        assert images is not None
    else:
        found = load_eval(data, opened.class_names)
        complain(describe(found))
        images, sentence = without_training(found, data, opened.provenance, partial(load_images, data), everything)
        if sentence:
            complain(sentence)
    batch_size = batch_size or 64
    results = evaluate_sizes(engines, images, batch_size, workers, show_progress=True, tta=tta)
    *_, final = results.values()
    for sentence in final.skipped:
        complain(f"left out: {sentence}")
    complain(f"engine: {opened.name}")
    if out is not None:
        used = {
            "checkpoint": str(checkpoint),
            "data": str(data or "scikit-learn digits"),
            "sizes": [size_name(s) for s in engines],
            "preprocessing": {k: v for k, v in opened.preprocessing.to_dict().items() if k != "image_size"},
            "scale_windows": scale_windows,
            "tta": tta,
            "engine": opened.name,
            "batch_size": batch_size,
        }
        write_records(out, results, images, used)
        complain(f"wrote {out / 'evaluation.json'} and {out / 'predictions.csv'}")
    if as_json:
        typer.echo(json.dumps({"engine": opened.name, "tta": tta, **as_dict(results)}))
    else:
        _print(results)


def _print(results: Mapping[str, "Evaluation | MultiLabelEvaluation"]) -> None:
    from maxvit.inference.multi_label import MultiLabelEvaluation

    *_, final = results.values()
    several = isinstance(final, MultiLabelEvaluation)
    if len(results) > 1:
        header = ("accuracy", "95 % interval", "top-5", "loss", "calibration error")
        header = ("mAP", "95 % interval", "micro F1", "macro F1", "loss") if several else header
        print_table(("size", *header), [(name, *_row(result)) for name, result in results.items()])
        typer.echo("")
    images = f"{len(final.labels)} images" + (", all sizes together" if len(results) > 1 else "")
    if isinstance(final, MultiLabelEvaluation):
        _print_several(final, images)
    else:
        _print_one(final, images)


def _print_one(final: "Evaluation", images: str) -> None:
    low, high = final.interval
    typer.echo(f"accuracy {final.accuracy:.2%} on {images} (95 % interval {low:.2%} to {high:.2%})")
    if len(final.class_names) > 5:
        low, high = final.top_k_interval(5)
        typer.echo(f"top-5 accuracy {final.top_k_accuracy(5):.2%} (95 % interval {low:.2%} to {high:.2%})")
    low, high = final.calibration_interval()
    typer.echo(f"calibration error {final.calibration_error:.2%} (95 % interval {low:.2%} to {high:.2%})")
    typer.echo(f"loss {final.loss:.4f}\n")
    rows = [
        (str(r["name"]), str(r["images"]), f"{r['precision']:.1%}", f"{r['recall']:.1%}", f"{r['f1']:.1%}")
        for r in final.per_class()
    ]
    print_table(("class", "images", "precision", "recall", "f1"), rows)


def _print_several(final: "MultiLabelEvaluation", images: str) -> None:
    scores, ends = final.scores(), final.intervals()
    low, high = ends["mAP"]
    typer.echo(f"mean average precision {scores['mAP']:.2%} on {images} (95 % interval {low:.2%} to {high:.2%})")
    low, high = ends["f1_micro"]
    typer.echo(
        f"at the network's threshold, {final.threshold:.3f}: F1 of all answers (micro) {scores['f1_micro']:.2%} (95 % "
        f"interval {low:.2%} to {high:.2%}), mean of the classes' F1 (macro) {scores['f1_macro']:.2%}"
    )
    typer.echo(f"at 0.5: micro {scores['f1_micro_at_0.5']:.2%}, macro {scores['f1_macro_at_0.5']:.2%}")
    typer.echo(f"loss {final.loss:.4f}\n")
    rows = [
        (
            str(r["name"]),
            str(r["positives"]),
            *(as_text(float(r[key]), ".1%") for key in ("ap", "precision", "recall", "f1")),
        )
        for r in final.per_class()
    ]
    print_table(("class", "images", "AP", "precision", "recall", "F1"), rows)


def _row(result: "Evaluation | MultiLabelEvaluation") -> tuple[str, ...]:
    from maxvit.inference.multi_label import MultiLabelEvaluation

    if isinstance(result, MultiLabelEvaluation):
        scores, (low, high) = result.scores(), result.intervals()["mAP"]
        f1s = f"{scores['f1_micro']:.2%}", f"{scores['f1_macro']:.2%}"
        return f"{scores['mAP']:.2%}", f"{low:.2%} to {high:.2%}", *f1s, f"{result.loss:.4f}"
    low, high = result.interval
    shares = f"{result.accuracy:.2%}", f"{low:.2%} to {high:.2%}", f"{result.top_k_accuracy(5):.2%}"
    return *shares, f"{result.loss:.4f}", f"{result.calibration_error:.2%}"

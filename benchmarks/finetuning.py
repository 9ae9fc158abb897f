"""What a checkpoint is worth: five digits learned from one of the other five, and from nothing.

First a network learns the digits 0 to 4. Then the digits 5 to 9 are learned twice with one recipe, from that checkpoint
and from random weights, with few images of each class. The curves are accuracies on all held-out images of these
digits after each epoch; three seeds.

    python benchmarks/finetuning.py --work runs/finetuning --out benchmarks/results/finetuning_HARDWARE_YYYY-MM
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from unittest import mock

from note import table, write_note

from maxvit.data.builtin import load_digits
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.storage import BEST
from maxvit.training import run as runs
from maxvit.training.files import read_metrics
from maxvit.training.recipe import Recipe, load_recipe

SOURCE = 40  # epochs of the first five digits
MARKS = (0.8, 0.9, 0.95)


def some_digits(first: int, per_class: int | None) -> Splits:
    """The digits first to first + 4: all training images or some of each class; validation: all that are held out."""
    everything = load_digits()
    parts = []
    for images, limit in ((everything.train, per_class), (everything.test, None)):
        assert images is not None
        labels = [int(label) - first for label in images.labels]
        chosen = [i for c in range(5) for i in [i for i, label in enumerate(labels) if label == c][:limit]]
        names = [str(first + c) for c in range(5)]
        sources, called = [images.sources[i] for i in chosen], [images.names[i] for i in chosen]
        parts.append(LabelledImages(sources, [labels[i] for i in chosen], names, called))
    return Splits(*parts)


def curve(recipe: Recipe, data: Splits, run: Path) -> list[float]:
    """Accuracy after each epoch, of a run that is begun, continued, or finished already."""
    with mock.patch.object(runs, "load_data", return_value=data):
        runs.train_or_resume(recipe, run, show_progress=True)
    return [row["val_accuracy"] for row in read_metrics(run)]


def updates_to(accuracies: list[float], mark: float, per_epoch: int) -> int | None:
    """Updates until an accuracy is reached; None: never."""
    return next(((epoch + 1) * per_epoch for epoch, a in enumerate(accuracies) if a >= mark), None)


def draw(curves: dict[str, list[list[float]]], per_epoch: int, path: Path) -> None:
    """A line for each run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for name, colour in zip(curves, ("tab:blue", "tab:orange"), strict=True):
        for i, values in enumerate(curves[name]):
            steps = [(e + 1) * per_epoch for e in range(len(values))]
            axes.plot(steps, [100 * v for v in values], color=colour, alpha=0.8, label=name if i == 0 else None)
    axes.set(xlabel="updates", ylabel="accuracy on held-out digits 5 to 9, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """Train, and write record, numbers and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--images", type=int, default=10, help="of each class")
    options = parser.parse_args(arguments)
    curves: dict[str, list[list[float]]] = {"from the digits 0 to 4": [], "from random weights": []}
    batch = 10
    for seed in range(options.seeds):
        source = options.work / f"source-{seed}"
        curve(load_recipe("digits", [f"seed={seed}", f"optimization.epochs={SOURCE}"]), some_digits(0, None), source)
        common = [f"seed={seed}", f"optimization.epochs={options.epochs}", f"data.batch_size={batch}"]
        common += ["optimization.ema_decay=0.9"]
        common += ["optimization.warmup_epochs=1", "optimization.learning_rate=1e-3"]
        data = some_digits(5, options.images)
        for name, start in zip(curves, (f"model.pretrained={source / BEST}", "model.pretrained=null"), strict=True):
            run = options.work / f"{'tuned' if 'digits' in name else 'scratch'}-{seed}"
            curves[name].append(curve(load_recipe("digits", [*common, start]), data, run))
    per_epoch = -(-5 * options.images // batch)
    rows = []
    for mark in MARKS:
        cells = []
        for runs_of in curves.values():
            reached = [updates_to(values, mark, per_epoch) for values in runs_of]
            cells.append(", ".join("never" if r is None else str(r) for r in reached))
        rows.append([f"updates to {mark:.0%}", *cells])
    rows.append(["accuracy at the end", *(f"{mean(v[-1] for v in values):.2%}" for values in curves.values())])
    draw(curves, per_epoch, options.out.with_suffix(".png"))
    options.out.with_suffix(".json").write_text(json.dumps(curves))
    words = sys.argv[1:] if arguments is None else arguments
    body = [*table([f"{options.seeds} seeds, in order", *curves], rows), "", f"![curves]({options.out.name}.png)"]
    facts = {"training images": f"{options.images} of each class, {per_epoch} updates an epoch"}
    write_note(options.out, __doc__ or "", body, ["benchmarks/finetuning.py", *words], facts=facts)


if __name__ == "__main__":
    main()

"""What each task learns on small scenes made for it, beside an untrained network and a constant answer.

The data is generated, by `examples/scenes.py` with a seed: shapes and scikit-learn's digits over photographs that ship
with scikit-learn and scikit-image; photographs and digits of training, validation and test are different ones. All
figures are of the test part. The constant answer is the same for every image: of pixels the most frequent class of the
training masks; of objects, of each class the mean box with its share of the training objects as score, its mask the
whole box; of aesthetics the mean distribution. The untrained network is the run's own before its first update.

    python benchmarks/tasks.py RUN... --out benchmarks/results/tasks_HARDWARE_YYYY-MM

RUN is what `maxvit train` left; its commands stand in the table.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from note import table, write_note
from PIL import Image

from maxvit import tasks
from maxvit.data.dataset import LabelledImages
from maxvit.data.images import decode, read_size
from maxvit.inference.evaluate import EvaluationResult, evaluate
from maxvit.storage import write_atomically, write_text
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.protocols import Predicted
from maxvit.tasks.task import Task
from maxvit.training.files import best_epoch, monitor, read_metrics, read_recipe
from maxvit.training.setup import load_data, make_network

SHOWN = 3  # pictures of a run


def constant(task: Task, train: LabelledImages) -> Callable[[tuple[int, int]], Predicted]:
    """A prediction for an image of any (height, width), that has never looked at it."""
    targets = [
        task.target(annotation, read_size(source))
        for source, annotation in zip(train.sources, train.labels, strict=True)
    ]
    if task.name == "segmentation":
        counts = sum(np.bincount(np.asarray(truth).ravel(), minlength=256)[:255] for truth in targets)
        common = int(np.argmax(counts))
        return lambda size: torch.full(size, common, dtype=torch.uint8)
    if task.name == "aesthetics":
        shares = torch.stack(targets).mean(0)
        return lambda size: shares
    return lambda size: _mean_boxes(targets, len(train.class_names), size)


def _mean_boxes(targets: Sequence[Any], classes: int, size: tuple[int, int]) -> Predicted:
    from pycocotools import mask as run_lengths

    boxes, labels = torch.cat([t["boxes"] for t in targets]), torch.cat([t["labels"] for t in targets])
    shares = torch.bincount(labels, minlength=classes + 1)[1:] / len(labels)
    means = torch.stack([boxes[labels == label].mean(0) for label in range(1, classes + 1)])
    order = shares.argsort(descending=True)
    pixels = np.zeros((*size, classes), np.uint8, order="F")
    for i, (left, top, right, bottom) in enumerate(means[order].round().int().tolist()):
        pixels[top:bottom, left:right, i] = 1
    return {
        "boxes": means[order],
        "labels": order + 1,
        "scores": shares[order],
        "rle": [run_lengths.encode(np.asfortranarray(pixels[..., i])) for i in range(classes)],
    }


def evaluate_constant(task: Task, train: LabelledImages, test: LabelledImages) -> dict[str, float]:
    """Its metrics."""
    predict, metric = constant(task, train), task.metric(test.class_names)
    for source, annotation in zip(test.sources, test.labels, strict=True):
        size = read_size(source)
        metric.add([predict(size)], [task.target(annotation, size)])
    return metric.compute()


class Run:
    """One training, evaluated."""

    def __init__(self, folder: Path) -> None:
        self.recipe, self.history = read_recipe(folder), read_metrics(folder)
        self.task = tasks.make_task(self.recipe.task)
        self.data = load_data(self.recipe)
        assert self.data.test is not None
        self.test = self.data.test
        network = tasks.load(folder / "best.safetensors")
        assert isinstance(network, TaskNetwork)
        self.network, self.name = network, folder.name
        self.trained: EvaluationResult = evaluate(network, self.test, keep=SHOWN)
        fresh = make_network(self.recipe, self.data.train.class_names).eval()
        self.untrained: EvaluationResult = evaluate(fresh, self.test)

    @property
    def minutes(self) -> float:
        """Minutes of training, validation left out."""
        return sum(row["seconds"] for row in self.history) / 60

    def pictures(self) -> list[list[Image.Image]]:
        """Rows of image, target and prediction."""
        rows = []
        for kept in self.trained.samples[:: max(1, len(self.trained.samples) // SHOWN)][:SHOWN]:
            image, names = decode(self.test.sources[kept.index]), self.network.class_names
            target = self.task.draw_target(image, kept.target, names)
            rows.append([image, target, self.task.draw_prediction(image, kept.prediction, names)])
        return rows


def draw(runs: Sequence[Run], path: Path) -> None:
    """Curves on top, pictures of each task's first run below."""
    first = list({run.task.name + str(run.recipe.task.get("detector")): run for run in runs}.values())
    rows = [row for run in first for row in run.pictures()]
    figure = Figure(figsize=(10, 3.2 + 2.6 * len(rows)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[3.2, 2.6 * len(rows)])
    for axis, run in zip(top.subplots(1, len(first), squeeze=False)[0], first, strict=True):
        for one in (r for r in runs if r.recipe.task == run.recipe.task):
            key = f"val_{monitor(one.recipe, one.history)}"
            axis.plot([row["epoch"] for row in one.history], [row[key] for row in one.history], label=one.name)
        axis.set_title(f"validation {monitor(run.recipe, run.history)}", fontsize=8)
        axis.set_xlabel("epoch", fontsize=8)
        axis.legend(fontsize=7)
    axes = bottom.subplots(len(rows), 3, squeeze=False)
    for line, images in zip(axes, rows, strict=True):
        for axis, image, what in zip(line, images, ("image", "target", "prediction"), strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set_title(what, fontsize=7)
            axis.axis("off")
    write_atomically(path, lambda p: figure.savefig(p, dpi=80, format="png"))


def rows_of(run: Run) -> list[list[str]]:
    """The table of one run's task."""
    constant_metrics = evaluate_constant(run.task, run.data.train, run.test)
    named = {"trained": run.trained.metrics, "untrained": run.untrained.metrics, "constant": constant_metrics}
    return [[who, *(f"{metrics[name]:.3f}" for name in run.trained.metrics)] for who, metrics in named.items()]


def main(arguments: list[str] | None = None) -> None:
    """Evaluate the runs, and write OUT.md, OUT.json and OUT.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    options = parser.parse_args(arguments)
    runs = [Run(folder) for folder in options.runs]
    body: list[str] = [f"![curves and pictures]({options.out.name}.png)", ""]
    record: dict[str, Any] = {}
    for run in runs:
        print(run.name, run.trained.metrics, file=sys.stderr, flush=True)
        named = run.recipe.task.get("detector") or run.recipe.task.get("decoder") or ""
        best = best_epoch(run.recipe, run.history)
        body += [
            f"## {run.task.name} {named}, seed {run.recipe.seed}".replace("  ", " ").replace(" ,", ","),
            "",
            f"{sum(p.numel() for p in run.network.parameters()):,} parameters, "
            f"{len(run.data.train)} images to learn from, "
            f"{len(run.history)} epochs in {run.minutes:.1f} min, the best {best}, {run.trained.images} test images.",
            f"`{re.sub(r' --out [^ ]+', '', str(run.network.provenance.get('command', '')))}`",
            "",
            *table(["", *(name.replace("_", " ") for name in run.trained.metrics)], rows_of(run)),
            "",
        ]
        record[run.name] = {
            "task": run.recipe.task,
            "seed": run.recipe.seed,
            "minutes": run.minutes,
            "trained": run.trained.metrics,
            "untrained": run.untrained.metrics,
            "history": run.history,
        }
    body += _cascade_against_mask(runs)
    draw(runs, options.out.with_name(f"{options.out.name}.png"))
    write_text(options.out.with_name(f"{options.out.name}.json"), json.dumps(record, default=float) + "\n")
    write_note(options.out, __doc__ or "", body, ["benchmarks/tasks.py", *(arguments or sys.argv[1:])], ["torchvision"])


def _cascade_against_mask(runs: Sequence[Run]) -> list[str]:
    """AP75 of both detectors, where there are both."""
    found = {
        detector: [run.trained.metrics["ap75"] for run in runs if run.recipe.task.get("detector") == detector]
        for detector in ("cascade-mask-rcnn", "mask-rcnn")
    }
    if not all(found.values()):
        return []
    said = [f"{name} {mean(v):.3f} ({min(v):.3f} to {max(v):.3f}, {len(v)} seeds)" for name, v in found.items()]
    return [f"AP75 of boxes: {', '.join(said)}.", ""]


if __name__ == "__main__":
    main()

"""What pre-training without labels is worth: clothes learned from few labels, from masked weights and from random ones.

One network, maxvit_micro, is pre-trained on the 60,000 pictures of Fashion-MNIST at 32 pixels by `maxvit train --task
masked`, which never sees a label. Then 10 and 100 labelled pictures a class, three draws of them, are learned from its
backbone and from random weights, by one recipe for both, that of `maxvit train --model RUN`, which begins with a first
verdict. That is of little use to random weights, so these also learn without. The test is of 10,000 other pictures.
What is done is not done again: pre-training that was stopped goes on where it was.

    python benchmarks/masked.py --work runs/masked --out benchmarks/results/masked_HARDWARE_YYYY-MM
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from note import table, write_note
from PIL import Image
from transfer import RECIPE, accuracy, gain, learn, spread
from transfer_sets import CLOTHES, Pixels, read_clothes

import maxvit
from maxvit import MaxViT
from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import evaluation_batches
from maxvit.tasks import make_task
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.masked.predictions import side_by_side
from maxvit.tasks.network import with_embeddings
from maxvit.training.files import read_metrics
from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.setup import make_network

UPDATES = {10: 200, 100: 600}  # by labels a class
SEEN = ["data.image_size=32", "data.mean=[0.5, 0.5, 0.5]", "data.std=[0.5, 0.5, 0.5]"]
PRETRAINING = ["data.val_fraction=0.02", *SEEN]
FINE_TUNING = [*RECIPE, *SEEN]  # chosen for random weights
MASKED, RANDOM, PLAIN = "masked pre-training", "random weights", "random weights, no first verdict"
GOALS = {10: "+5", 100: "+2"}
Clothes = tuple[Pixels, Pixels]  # pictures (n, 28, 28) and labels (n,)


def write_pictures(work: Path, limit: int | None) -> Path:
    """A folder of pictures without labels, written once."""
    folder = work / f"pictures-{limit or 'all'}"
    if not folder.is_dir():
        pixels, _ = read_clothes(work, "train")
        partial = folder.with_suffix(".partial")
        partial.mkdir(exist_ok=True)
        for i, picture in enumerate(pixels[:limit]):
            Image.fromarray(picture).save(partial / f"{i:05}.png")
        partial.rename(folder)
    return folder


def pretrain(work: Path, epochs: int, limit: int | None) -> Path:
    """The run folder of pre-training: begun, gone on with, or finished already."""
    run = work / f"pretrained-{epochs}"
    outcome = maxvit.train(
        write_pictures(work, limit), out=run, task="masked", epochs=epochs, settings=PRETRAINING, device="cpu"
    )
    if not outcome.finished:
        raise SystemExit(f"stopped: the same command goes on with {run}")
    return run


def fine_tune(recipe: Recipe, per_class: int, train: Clothes, test: Clothes) -> dict[str, float]:
    """Accuracy on the test pictures after learning so many labelled ones of each class, and of the first verdict."""
    pixels, labels = train
    random = np.random.default_rng(recipe.seed)
    drawn = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:per_class] for c in range(len(CLOTHES))])
    images, tested = _labelled(pixels[drawn], labels[drawn]), _labelled(*test)
    network, found = make_network(recipe, CLOTHES), {}
    if recipe.model.probe:
        fit_last_layer(network, images, recipe)
        found["first verdict"] = accuracy(maxvit.optimize(network), tested)
    learned = learn(recipe, network, images, UPDATES[per_class])
    return {"accuracy": accuracy(maxvit.optimize(learned.eval()), tested), **found}


def fit_last_layer(network: MaxViT, images: LabelledImages, recipe: Recipe) -> None:
    """The first verdict of a run: see `maxvit.training.probe`."""
    task, fast = make_task(recipe.task), maxvit.optimize(network.eval())
    batches = evaluation_batches(TaskExamples(task, images, network.preprocessing), 100)
    with torch.no_grad():
        found = [(with_embeddings(fast, batch.images)[1], torch.as_tensor(batch.targets)) for batch in batches]
    embeddings, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    task.probe(images)(network, embeddings, targets)


def _labelled(pixels: Pixels, labels: Pixels) -> LabelledImages:
    names = [f"image {i}" for i in range(len(pixels))]
    return LabelledImages(list(pixels), labels.astype(int).tolist(), list(CLOTHES), names)


class Cells:
    """Accuracies, each measured once and kept in a file.

    Args:
        work: Where the file is, and what is fetched.
        tested: On how many pictures; None: all.
    """

    def __init__(self, work: Path, tested: int | None) -> None:
        self.path, self.tested = work / "cells.jsonl", tested
        self.train, (pixels, labels) = read_clothes(work, "train"), read_clothes(work, "t10k")
        self.test = pixels[:tested], labels[:tested]

    def measure(self, per_class: int, weights: Path | None, seed: int, probe: bool) -> dict[str, float]:
        """What `fine_tune` gives, from weights of a run or from random ones."""
        key = {"labels": per_class, "run": weights and weights.name, "seed": seed, "updates": UPDATES[per_class]}
        key |= {"tested": self.tested, "recipe": FINE_TUNING, "probe": probe}
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for cell in map(json.loads, lines):
            if key.items() <= cell.items():
                return cell
        began = time.perf_counter()
        settings = [f"seed={seed}", f"model.pretrained={weights or 'null'}", f"model.probe={str(probe).lower()}"]
        found = fine_tune(load_recipe("folder", [*FINE_TUNING, *settings]), per_class, self.train, self.test)
        cell = {**key, **found, "seconds": round(time.perf_counter() - began, 1)}
        print(f"{per_class} labels, {weights}, probe {probe}, seed {seed}: {found}", flush=True)
        with self.path.open("a") as file:
            file.write(json.dumps(cell) + "\n")
        return cell


def page(found: Mapping[int, Mapping[str, Sequence[Mapping[str, float]]]], run: Path) -> list[str]:
    """The gains, and how pre-training went."""
    rows, verdicts = [], []
    for n, starts in found.items():
        of = {name: [cell["accuracy"] for cell in cells] for name, cells in starts.items()}
        gains = [spread(gain(of, MASKED, other), "+") for other in (RANDOM, PLAIN)]
        rows.append([f"{n}", *map(spread, of.values()), *gains, GOALS[n]])
        first = {name: [cell["first verdict"] for cell in starts[name]] for name in (MASKED, RANDOM)}
        verdicts.append([f"{n}", *map(spread, first.values()), spread(gain(first, MASKED, RANDOM), "+")])
    heads = [f"{name}, %" for name in (MASKED, RANDOM, PLAIN)]
    lines = table(["labels a class", *heads, "gain", f"gain over {PLAIN}", "goal"], rows)
    lines += ["", "The first verdict alone, a regression on what the network sees before it learns:", ""]
    lines += table(["labels a class", *heads[:2], "gain"], verdicts)
    history = read_metrics(run)
    shown = sorted({0, len(history) // 4, len(history) // 2, 3 * len(history) // 4, len(history) - 1})
    keys = ["epoch", "train_loss", "val_loss", "val_reconstruction_error", "val_relative_error", "images_per_second"]
    rows = [[f"{history[i][key]:.4g}" for key in keys] for i in shown]
    return [
        *lines,
        "",
        "Mean and deviation over the draws of labels; a gain, in points, is of one draw over the same draw. There is",
        "one pre-trained network, so its own chance is not in the deviations.",
        "",
        *table([key.replace("_", " ") for key in keys], rows),
        "",
        f"Pre-training took {sum(row['seconds'] for row in history) / 60:.0f} minutes.",
    ]


def draw(run: Path, pictures: Pixels, out: Path) -> None:
    """Pictures that were never seen, what the network is shown of them, and what it paints, in two columns."""
    rows = [np.asarray(side_by_side(found.value)) for found in maxvit.Predictor(run)(list(pictures))]
    half = len(rows) // 2
    gap = np.full((len(rows[0]) * half, 16, 3), 255, np.uint8)
    whole = np.hstack([np.vstack(rows[:half]), gap, np.vstack(rows[half : 2 * half])])
    Image.fromarray(whole).resize((3 * whole.shape[1], 3 * whole.shape[0]), Image.Resampling.NEAREST).save(out)


def main(arguments: list[str] | None = None) -> None:
    """Do what is not done yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched, trained and measured")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6, help="of pre-training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, help="pre-train on so many and test on so many; default: all")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    cells, seeds = Cells(options.work, options.pictures), range(options.seeds)
    run = pretrain(options.work, options.epochs, options.pictures)
    starts = {MASKED: (run, True), RANDOM: (None, True), PLAIN: (None, False)}
    found = {
        n: {name: [cells.measure(n, start[0], seed, start[1]) for seed in seeds] for name, start in starts.items()}
        for n in UPDATES
    }
    drawing = options.out.with_name(f"{options.out.name}.png")
    draw(run, cells.test[0][:8], drawing)
    picture = ["Pictures of the test, what the network is shown of them, and what it paints:", ""]
    picture += [f"![pictures, masked, painted]({drawing.name})"]
    words = sys.argv[1:] if arguments is None else arguments
    facts = {
        "pre-training": f"`masked` with {options.epochs} epochs, {', '.join(PRETRAINING)}",
        "fine-tuning": f"`folder` with {', '.join(FINE_TUNING)}; updates by labels a class: {UPDATES}",
    }
    write_note(
        options.out, __doc__ or "", [*page(found, run), "", *picture], ["benchmarks/masked.py", *words], facts=facts
    )


if __name__ == "__main__":
    main()

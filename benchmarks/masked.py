"""What pre-training without labels is worth: clothes learned from few labels, from masked weights and from random ones.

One network, maxvit_micro, is pre-trained on the 60,000 pictures of Fashion-MNIST at 32 pixels by `maxvit train --task
masked`, which never sees a label. Then 10 and 100 labelled pictures a class, three draws of them, are learned from its
backbone and from random weights, by one recipe that is the same for both; the test is of 10,000 other pictures. What is
done is not done again: pre-training that was stopped goes on where it was.

    python benchmarks/masked.py --work runs/masked --out benchmarks/results/masked_HARDWARE_YYYY-MM
"""

import argparse
import gzip
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from note import table, write_note
from PIL import Image
from transfer import accuracy, gain, learn, spread
from transfer_sets import fetch

import maxvit
from maxvit.data.dataset import LabelledImages
from maxvit.training.files import read_metrics
from maxvit.training.recipe import Recipe, load_recipe
from maxvit.training.setup import make_network

NAMES = ["T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
UPDATES = {10: 300, 100: 1500}  # by labels a class: until random weights gain nothing more
PRETRAINING = [
    "data.image_size=32",
    "data.val_fraction=0.02",
    "data.mean=[0.5, 0.5, 0.5]",
    "data.std=[0.5, 0.5, 0.5]",
]
RECIPE = [  # of benchmarks/transfer.py, which was chosen for random weights
    "task.rand_augment=[0, 0]",
    "task.crop_area=[0.6,1]",
    "model.drop_path_rate=0",
    "model.batch_norm_momentum=0.1",
    "data.crop_pct=1",
    "data.image_size=32",
    "data.batch_size=32",
    "data.mean=[0.5, 0.5, 0.5]",
    "data.std=[0.5, 0.5, 0.5]",
    "optimization.learning_rate=1e-3",
    "optimization.warmup_epochs=10",  # of 100: the epochs count as shares of the updates
    "optimization.ema_decay=0.99",
]
RANDOM, MASKED = "random weights", "masked pre-training"
GOALS = {10: "+5", 100: "+2"}
Pixels = npt.NDArray[np.uint8]


def read_clothes(work: Path, part: str) -> tuple[Pixels, npt.NDArray[np.uint8]]:
    """Pictures (n, 28, 28) and labels (n,) of "train" or "t10k"."""
    folder = fetch("dataset-fashion-mnist", work) / "usr/share/datasets/fashion-mnist"
    pixels = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8, -1, 16)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, -1, 8)
    return pixels.reshape(-1, 28, 28), labels


def write_pictures(work: Path, limit: int | None) -> Path:
    """A folder of pictures without labels, written once."""
    folder = work / "pictures"
    if not folder.is_dir():
        pixels, _ = read_clothes(work, "train")
        partial = work / "pictures.partial"
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


def fine_tune(recipe: Recipe, per_class: int, clothes: Sequence[tuple[Pixels, npt.NDArray[np.uint8]]]) -> float:
    """Accuracy on the test pictures after learning so many labelled ones of each class."""
    (pixels, labels), test = clothes
    random = np.random.default_rng(recipe.seed)
    drawn = np.concatenate([random.permutation(np.flatnonzero(labels == c))[:per_class] for c in range(len(NAMES))])
    network = make_network(recipe, NAMES)
    learned = learn(recipe, network, _labelled(pixels[drawn], labels[drawn]), UPDATES[per_class])
    return accuracy(learned, _labelled(*test))


def _labelled(pixels: Pixels, labels: npt.NDArray[np.uint8]) -> LabelledImages:
    return LabelledImages(list(pixels), labels.astype(int).tolist(), NAMES, [f"image {i}" for i in range(len(pixels))])


def measure(work: Path, seeds: int, run: Path, tested: int | None) -> dict[int, dict[str, list[float]]]:
    """Accuracies by labels a class and start, one for each seed; each is measured once, and kept in a file."""
    path = work / "cells.jsonl"
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    clothes = [read_clothes(work, "train"), tuple(part[:tested] for part in read_clothes(work, "t10k"))]
    found: dict[int, dict[str, list[float]]] = {}
    for per_class in UPDATES:
        found[per_class] = {RANDOM: [], MASKED: []}
        for seed in range(seeds):
            for start, values in found[per_class].items():
                weights = run if start == MASKED else None
                key = {"start": start, "run": weights and run.name, "labels": per_class, "seed": seed, "recipe": RECIPE}
                key |= {"updates": UPDATES[per_class], "tested": tested}
                cell = next((cell for cell in known if key.items() <= cell.items()), None)
                if cell is None:
                    began = time.perf_counter()
                    settings = [f"seed={seed}", f"model.pretrained={weights or 'null'}"]
                    result = fine_tune(load_recipe("folder", [*RECIPE, *settings]), per_class, clothes)
                    cell = {**key, "accuracy": result, "seconds": round(time.perf_counter() - began, 1)}
                    print(f"{per_class} labels, {start}, seed {seed}: {result:.1%} in {cell['seconds']} s", flush=True)
                    with path.open("a") as file:
                        file.write(json.dumps(cell) + "\n")
                values.append(cell["accuracy"])
    return found


def page(found: Mapping[int, Mapping[str, Sequence[float]]], run: Path) -> list[str]:
    """The gains, and how pre-training went."""
    rows = [
        [f"{n}", *map(spread, of.values()), spread(gain(of, MASKED, RANDOM), "+"), GOALS[n]] for n, of in found.items()
    ]
    lines = table(["labels a class", f"{RANDOM}, %", f"{MASKED}, %", "gain, points", "goal"], rows)
    history = read_metrics(run)
    shown = sorted({0, len(history) // 4, len(history) // 2, 3 * len(history) // 4, len(history) - 1})
    keys = ["epoch", "train_loss", "val_loss", "val_reconstruction_error", "val_relative_error", "images_per_second"]
    rows = [[f"{history[i][key]:.4g}" for key in keys] for i in shown]
    return [
        *lines,
        "",
        "Mean and deviation over the draws of labels; a gain is that of one draw over the same draw. There is one",
        "pre-trained network, so its own chance is not in the deviations.",
        "",
        *table([key.replace("_", " ") for key in keys], rows),
        "",
        f"Pre-training took {sum(row['seconds'] for row in history) / 60:.0f} minutes.",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Do what is not done yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched, trained and measured")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20, help="of pre-training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, help="pre-train on so many and test on so many; default: all")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    run = pretrain(options.work, options.epochs, options.pictures)
    found = measure(options.work, options.seeds, run, options.pictures)
    words = sys.argv[1:] if arguments is None else arguments
    facts = {
        "pre-training": f"`masked` with {options.epochs} epochs, {', '.join(PRETRAINING)}",
        "fine-tuning": f"`folder` with {', '.join(RECIPE)}; updates by labels a class: {UPDATES}",
    }
    write_note(options.out, __doc__ or "", page(found, run), ["benchmarks/masked.py", *words], facts=facts)


if __name__ == "__main__":
    main()

"""The paper's ablations (arXiv 2204.01697, tables 7 to 10, figure 5), on small pictures of clothes.

What the paper trains on ImageNet for 300 epochs is here `maxvit_micro` on Fashion-MNIST at 32 pixels for a few, by the
recipe `ablation`: what differs by less than the deviations says nothing. Runs that are finished are not done again, and
one that was stopped goes on.

    python benchmarks/paper_ablations.py --work runs/ablations --out benchmarks/results/paper_ablations_HARDWARE_YYYY-MM
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from note import table, write_note
from PIL import Image
from transfer import gain, spread
from transfer_sets import CLOTHES, read_clothes

import maxvit
from maxvit.training.files import read_metrics

FULL = "CBG"
ROWS: dict[
    str, dict[str, tuple[str, object, float | None]]
] = {  # by table: of each row setting, value, the paper's top-1
    "8": {
        "MBConv, block, grid": ("order", FULL, 83.62),
        "MBConv, grid, block": ("order", "CGB", 83.54),
        "block, MBConv, grid": ("order", "BCG", 83.07),
        "block, grid, MBConv": ("order", "BGC", 83.02),
        "grid, MBConv, block": ("order", "GCB", 83.08),
        "grid, block, MBConv": ("order", "GBC", 83.03),
    },
    "7": {
        "full": ("order", FULL, 83.62),
        "grid removed in stage 1": ("order", ["CB", FULL, FULL, FULL], 83.36),
        "grid removed in stage 2": ("order", [FULL, "CB", FULL, FULL], 83.38),
        "grid removed in stage 3": ("order", [FULL, FULL, "CB", FULL], 83.00),
        "block for grid in stage 1": ("order", ["CBB", FULL, FULL, FULL], 83.49),
        "block for grid in stage 2": ("order", [FULL, "CBB", FULL, FULL], 83.41),
        "block for grid in stage 3": ("order", [FULL, FULL, "CBB", FULL], 83.40),
    },
    "9": {
        "full": ("order", FULL, 83.62),
        "MBConv removed in stage 1": ("order", ["BG", FULL, FULL, FULL], 83.24),
        "MBConv removed in stage 2": ("order", [FULL, "BG", FULL, FULL], 83.02),
        "MBConv removed in stage 3": ("order", [FULL, FULL, "BG", FULL], 82.65),
        "MBConv removed in stage 4": ("order", [FULL, FULL, FULL, "BG"], 83.09),
    },
    "10": {"sequential": ("order", FULL, 83.62), "parallel": ("order", "CP", 82.64)},
    "figure 5": {
        "depths 2, 2, 5, 2": ("depths", [2, 2, 5, 2], None),
        "depths 2, 2, 6, 2": ("depths", [2, 2, 6, 2], None),
    },
}


def write_pictures(work: Path, learned: int, tested: int) -> Path:
    """A folder of pictures by class, to learn from and to be tested on, written once."""
    folder = work / f"pictures-{learned}-{tested}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        for part, name, limit in (("train", "train", learned), ("t10k", "val", tested)):
            for i, (picture, label) in enumerate(
                zip(*(each[:limit] for each in read_clothes(work, part)), strict=True)
            ):
                (partial / name / CLOTHES[label]).mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(partial / name / CLOTHES[label] / f"{i:05}.png")
        partial.rename(folder)
    return folder


def measure(work: Path, pictures: Path, setting: str, value: object, seed: int, epochs: int) -> float:
    """Accuracy on the test pictures after the last epoch: begun, gone on with, or finished already."""
    name = "".join(c for c in json.dumps(value) if c.isalnum() or c == ",").replace(",", "-")
    run = work / f"{pictures.name}-{epochs}-{name}-{seed}"
    if len(read_metrics(run)) < epochs:
        settings = [f"model.{setting}={json.dumps(value)}", f"seed={seed}"]
        outcome = maxvit.train(pictures, out=run, recipe="ablation", epochs=epochs, settings=settings, device="cpu")
        if not outcome.finished:
            raise SystemExit(f"stopped: the same command goes on with {run}")
    found = read_metrics(run)[-1]["val_accuracy"]
    print(f"{setting} {value}, seed {seed}: {found:.2%}", flush=True)
    return found


def page(name: str, found: dict[str, list[float]]) -> list[str]:
    """One table, the gains to its first row."""
    heading = name.capitalize() if name.startswith("figure") else f"Table {name}"
    first = next(iter(found))
    rows = [
        [
            row,
            "" if ROWS[name][row][2] is None else f"{ROWS[name][row][2]:.2f}",
            spread(values),
            "" if row == first else spread(gain(found, row, first), "+"),
        ]
        for row, values in found.items()
    ]
    return [f"## {heading}", "", *table(["", "the paper, ImageNet", "here, %", "to the first, points"], rows), ""]


def main(arguments: list[str] | None = None) -> None:
    """Do what is not done yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched and trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="append", choices=list(ROWS), help="may be repeated; default: all")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=60_000, help="to learn from")
    parser.add_argument("--tested", type=int, default=10_000, help="pictures to be tested on")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    pictures = write_pictures(options.work, options.pictures, options.tested)
    tables = options.table or list(ROWS)
    found: dict[str, dict[str, list[float]]] = {name: {row: [] for row in ROWS[name]} for name in tables}
    for seed in range(options.seeds):  # one seed of all rows first, so that what is stopped says something of each
        for name in tables:
            for row, (setting, value, _) in ROWS[name].items():
                found[name][row].append(measure(options.work, pictures, setting, value, seed, options.epochs))
    body = [line for name in tables for line in page(name, found[name])]
    words: Sequence[str] = sys.argv[1:] if arguments is None else arguments
    facts = {
        "data": f"{options.pictures:,} pictures to learn from, {options.tested:,} others to be tested on",
        "training": f"recipe `ablation`, {options.epochs} epochs; after the last, mean and deviation over seeds",
    }
    write_note(options.out, __doc__ or "", body, ["benchmarks/paper_ablations.py", *words], facts=facts)


if __name__ == "__main__":
    main()

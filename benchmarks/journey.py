"""From a folder to a checkpoint, typed as a new user would: `maxvit train FOLDER`, or with the time that one has.

Each set of the transfer table becomes a folder with a train and a test part; `maxvit train` holds out a fifth of the
former to choose the best epoch by, and tells the accuracy on the latter. The first verdict is `--preset fast`; the
histogram is the one that it names. Seconds are those of the command, imports and report included. A run that is there
is not run again. What random weights reach is in the transfer table.

    python benchmarks/journey.py --work runs/transfer --out benchmarks/results/journey_HARDWARE_YYYY-MM
"""

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

from note import table, write_note
from PIL import Image
from transfer import spread
from transfer_sets import SETS, draw

from maxvit.data.dataset import LabelledImages
from maxvit.training.files import best_epoch, read_metrics, read_recipe

HISTOGRAM, PROBE, JOURNEY = "histogram", "first verdict", "maxvit train"
WAYS = (PROBE, JOURNEY)
ACCURACY = r"accuracy ([0-9.]+)%"


def save(images: LabelledImages, folder: Path) -> None:
    """FOLDER/CLASS/*.png."""
    for number, (source, label) in enumerate(zip(images.sources, images.labels, strict=True)):
        path = folder / images.class_names[label] / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source).save(path)


def folder_of(name: str, work: Path, seed: int) -> Path:
    """A set as a seed draws it; of more than 1000 test images, as many evenly spread."""
    folder = work / "journey" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
    if not folder.is_dir():
        train, test = draw(SETS[name], work, seed)
        save(train, folder / "train")
        save(test.subset(range(0, len(test), -(-len(test) // 1000))), folder / "test")
    return folder


def run(name: str, way: str, work: Path, seed: int, spent: str | None) -> tuple[float, str, Path]:
    """Seconds, what was printed, and the run's folder."""
    folder = folder_of(name, work, seed)
    limit = [] if spent is None or way == PROBE else ["--time", spent]
    out = folder.with_name("-".join([folder.name, way.replace(" ", "-"), *limit[1:]]))
    printed = out / "printed.txt"
    if not printed.is_file():
        words = ["--set", f"task.augmentation={SETS[name].augmentation}", "--set", f"seed={seed}"]
        words += ["--preset", "fast"] if way == PROBE else limit
        began = time.monotonic()
        command = [sys.executable, "-m", "maxvit", "train", str(folder), "--out", str(out), *words]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        printed.write_text(f"{time.monotonic() - began:.1f}\n{done.stdout}")
    seconds, _, text = printed.read_text().partition("\n")
    return float(seconds), text, out


def epochs_of(out: Path) -> str:
    """The best epoch and how many were trained."""
    rows = read_metrics(out)
    return f"{best_epoch(read_recipe(out), rows)} of {int(rows[-1]['epoch'])}"


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched and trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--time", help="as for maxvit train; default: as long as it takes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    options = parser.parse_args(arguments)
    found: dict[str, dict[str, list[float]]] = {}
    rows, verdicts = [], []
    for name in options.sets:
        of_set: dict[str, list[float]] = {way: [] for way in (HISTOGRAM, *WAYS)}
        said: list[tuple[float, float, str]] = []
        for seed in range(options.seeds):
            results = {way: run(name, way, options.work, seed, options.time) for way in WAYS}
            for way, (_, text, _) in results.items():
                of_set[way].append(float(re.findall(ACCURACY, text)[0]) / 100)
            of_set[HISTOGRAM].append(float(re.findall(f"colours and edges: {ACCURACY}", results[PROBE][1])[0]) / 100)
            said.append((results[PROBE][0], results[JOURNEY][0], epochs_of(results[JOURNEY][2])))
            if seed == 0:
                verdicts += [f"### {name}", "", "```", results[JOURNEY][1].strip(), "```", ""]
        found[name] = of_set
        first, whole = (", ".join(f"{each[i]:.0f}" for each in said) for i in (0, 1))
        rows.append([name, *map(spread, of_set.values()), first, whole, "; ".join(each[2] for each in said)])
    means = [f"{100 * mean(mean(of_set[way]) for of_set in found.values()):.1f}" for way in (HISTOGRAM, *WAYS)]
    rows.append(["mean", *means, "", "", ""])
    head = ["accuracy, %", HISTOGRAM, *WAYS, "first verdict, s", "maxvit train, s", "best epoch"]
    lines = [*table(head, rows), "", "What was printed, for the first seed:", "", *verdicts]
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", lines, ["benchmarks/journey.py", *words], ["scikit-learn"])


if __name__ == "__main__":
    main()

"""Five minutes from a folder to a checkpoint: `maxvit train` from the shipped weights, and what else there is.

The folder holds 500 images of 64 pixels of clip art, 72 or so of each category, as files; `maxvit train` holds out a
fifth of them itself, to choose its best epoch by. It is stopped after the minutes given if it has not ended by then,
and its best checkpoint counts. The histogram's regression learns from all 500. Everything is tested on the same 560
other images.

    python benchmarks/five_minutes.py --weights FILE --work runs/five --out OUT
"""

import argparse
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from note import table, write_note
from PIL import Image
from transfer import Drawn, frozen, histogram, spread
from transfer_sets import SETS, draw

from maxvit import evaluate
from maxvit.data.dataset import LabelledImages
from maxvit.storage import BEST
from maxvit.training.files import read_epochs

SET, SIDE, IMAGES = "clip art, 100", 64, 500


def save(images: LabelledImages, folder: Path) -> None:
    """FOLDER/CLASS/*.png of 64 pixels."""
    for number, (source, label) in enumerate(zip(images.sources, images.labels, strict=True)):
        path = folder / images.class_names[label] / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source).resize((SIDE, SIDE)).save(path)


def train(folder: Path, run: Path, weights: str, settings: list[str], minutes: float) -> tuple[float, int]:
    """`maxvit train` as a user calls it; a finished run is not run again. Returns its seconds and epochs."""
    if (run / "seconds").is_file():
        return float((run / "seconds").read_text()), read_epochs(run)
    options = [word for setting in [f"model.pretrained={weights}", *settings] for word in ("--set", setting)]
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "maxvit", "train", str(folder), "--out", str(run), *options])
    try:
        process.wait(60 * minutes)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        process.wait()
    seconds = time.monotonic() - began
    (run / "seconds").write_text(f"{seconds:.0f}")
    return seconds, read_epochs(run)


def main(arguments: list[str] | None = None) -> None:
    """Train, evaluate, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched and trained")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings", help="of the recipe, for both runs")
    options = parser.parse_args(arguments)
    starts = {"maxvit train, from the weights": str(options.weights), "maxvit train, from random weights": "null"}
    found: dict[str, list[float]] = {name: [] for name in ("histogram, regression", "frozen features", *starts)}
    took: dict[str, list[str]] = {name: [] for name in starts}
    for seed in range(options.seeds):
        everything, test = draw(SETS[SET], options.work, seed)
        few = range(0, len(everything), 1)
        kept = [i for n, i in enumerate(few) if (n * IMAGES) // len(few) != ((n + 1) * IMAGES) // len(few)]
        folder = options.work / f"folder-{seed}"
        for part, images in (("train", everything.subset(kept)), ("test", test)):
            save(images, folder / part)
        of = Drawn(everything.subset(kept), test, replace(SETS[SET], per_class=0), seed, options.weights)
        found["histogram, regression"].append(histogram(of))
        found["frozen features"].append(frozen(of))
        for name, weights in starts.items():
            run = options.work / f"{'random' if weights == 'null' else 'weights'}-{seed}"
            settings = [f"seed={seed}", *options.settings]
            seconds, epochs = train(folder, run, weights, settings, options.minutes)
            took[name].append(f"{epochs} epochs in {seconds:.0f} s")
            found[name].append(evaluate(run / BEST, folder).metrics["accuracy"])
    rows = [[name, spread(values), "; ".join(took.get(name, []))] for name, values in found.items()]
    body = table(["way", "accuracy, %", "training"], rows)
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", body, ["benchmarks/five_minutes.py", *words], ["scikit-learn"])


if __name__ == "__main__":
    main()

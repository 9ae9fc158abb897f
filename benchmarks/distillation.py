"""What a network learns from a larger one's answers beside the labels: with and without a teacher, from few images.

The teacher is `maxvit_micro` at 64 x 64, trained from the shipped weights on 6,000 pictures of clothes (Fashion-MNIST;
2,000 others choose the epoch). The student is the same network at 32 x 32, a fourth of the work, from the same
weights, and learns from fewer of these pictures, with `--teacher` or without; a quarter as many others choose its
epoch. Accuracy is that on 1,000 test pictures. A run that is there is not run again.

    python benchmarks/distillation.py --work FOLDER --runs FOLDER --out benchmarks/results/distillation_HARDWARE_YYYY-MM
"""

import argparse
import sys
from pathlib import Path
from statistics import mean

from note import table, write_note
from transfer import spread
from trust import write_clothes

import maxvit
from maxvit.data.dataset import at_most
from maxvit.tasks import load, make_task

SETTINGS = ["data.crop_pct=1", "task.crop_area=[0.6,1]", "model.drop_path_rate=0", "model.probe=false"]
TESTED = 1_000
TEACHER_EPOCHS, EPOCHS = 8, 30
IMAGES = (200, 500, 1_000, 2_000)
ALONE, TAUGHT = "labels alone", "with a teacher"


def train(data: Path, run: Path, side: int, epochs: int, seed: int, settings: list[str], teacher: Path | None) -> Path:
    """The best checkpoint of a run, which is trained where it is not there."""
    outcome = maxvit.train(
        data,
        out=run,
        recipe="folder",
        image_size=side,
        epochs=epochs,
        teacher=teacher,
        settings=[*SETTINGS, *settings, f"seed={seed}"],
        show_progress=False,
    )
    if not outcome.finished:
        raise KeyboardInterrupt
    return outcome.best


def accuracy(checkpoint: Path, data: Path) -> float:
    """On the test pictures."""
    images = at_most(make_task({"name": "classification"}).load_eval(str(data), None), TESTED, 0)
    return maxvit.evaluate(load(checkpoint), images, show_progress=False).metrics["accuracy"]


def main(arguments: list[str] | None = None) -> None:
    """Train what is not trained yet, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is fetched")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, nargs="+", default=list(IMAGES))
    options = parser.parse_args(arguments)
    data = options.runs / "clothes"
    if not data.is_dir():
        write_clothes(options.work, data)
    teacher = train(data, options.runs / "teacher", 64, TEACHER_EPOCHS, 0, ["data.val_fraction=0.25"], None)
    rows = []
    for number in options.images:
        limit, found = [f"data.limit={number}"], {ALONE: list[float](), TAUGHT: list[float]()}
        for seed in range(options.seeds):
            for name, said in ((ALONE, None), (TAUGHT, teacher)):
                run = options.runs / f"{number}-{seed}-{name.replace(' ', '-')}"
                found[name].append(accuracy(train(data, run, 32, EPOCHS, seed, limit, said), data))
        gains = [b - a for a, b in zip(*found.values(), strict=True)]
        rows.append([f"{number:,}", *map(spread, found.values()), f"{100 * mean(gains):+.1f}"])
    lines = [
        f"The teacher itself: {accuracy(teacher, data):.1%}.",
        "",
        *table(["images to learn from", f"{ALONE}, %", f"{TAUGHT}, %", "gain, points"], rows),
    ]
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", lines, ["benchmarks/distillation.py", *words], ["scikit-learn"])


if __name__ == "__main__":
    main()

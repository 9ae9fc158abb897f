"""Images a second of training, with what is the same in every epoch made once, and before.

Each contender is a process that trains `maxvit_micro` by a recipe, as `maxvit train` does; they take turns, an epoch
and its validation each, in the opposite order every second round, while the others sleep. The first epoch, in which
images are decoded for the first time, is left out. "Times as fast" is the first row's time over that of a row,
round by round; "waiting" is the share of an epoch in which no data was there.

Digits are those of `make demo` (1,293 images of 8 x 8 pixels in memory, learned from at 32). Photographs are files: the
pictures of benchmarks/decoding.py, each many times, 240 to learn from at 64 pixels with the recipe `folder`, and 60 to
validate on.

    python benchmarks/loading.py --before NAME=CHECKOUT --work WORK --out benchmarks/results/loading_HARDWARE_YYYY-MM
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from decoding import photographs
from note import table, write_note

from maxvit.benchmark.page import written
from maxvit.benchmark.record import paired_ratio, spread

SOURCES = Path(__file__).parent.parent / "src"
FILES = 300
PHOTOGRAPHS = {"photographs of 320 x 240": (320, 240), "photographs of 2000 x 1500": (2000, 1500)}
NOW = {  # settings by name
    "now": [],
    "now, nothing kept": ["data.cache_gib=0"],
    "now, and a worker process": ["data.workers=1"],
}
Row = dict[str, float]


class Contender:
    """A process that trains an epoch when it is told to.

    Args:
        sources: The package.
        recipe: Its name, and settings.
        threads: That compute.
    """

    def __init__(self, sources: Path, recipe: Sequence[str], threads: int) -> None:
        environment = {**os.environ, "PYTHONPATH": str(sources), "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--train", *recipe],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def turn(self) -> Row:
        """What `metrics.csv` says of an epoch, and the seconds of its validation."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        row: Row = json.loads(self.process.stdout.readline())
        return row

    def end(self) -> None:
        """It has nothing to be kept."""
        self.process.kill()
        self.process.wait()


def train(recipe: str, settings: Sequence[str]) -> None:
    """In a contender's process: an epoch for every line that comes, and a line of its numbers."""
    from maxvit.training.loop import Loop
    from maxvit.training.recipe import load_recipe
    from maxvit.training.run import train

    class Turns(Loop):
        def _train_epoch(self) -> None:
            sys.stdin.readline()
            super()._train_epoch()

        def _validate(self) -> dict[str, float]:
            start = time.perf_counter()
            result = super()._validate()
            self.validating = time.perf_counter() - start
            return result

        def _end_epoch(self, val: dict[str, float]) -> None:
            super()._end_epoch(val)
            row = {key: float(self.files.rows[-1][key]) for key in ("images_per_second", "waiting", "seconds")}
            print(json.dumps({**row, "validating": self.validating}), flush=True)

    import maxvit.training.run as run

    run.Loop = Turns  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        train(load_recipe(recipe, [*settings, "optimization.epochs=1000"]), Path(folder) / "run")


def measure(contenders: dict[str, tuple[Path, Sequence[str]]], threads: int, rounds: int) -> dict[str, list[Row]]:
    """Rows of each, round by round, after one round that warms up."""
    running = {name: Contender(sources, recipe, threads) for name, (sources, recipe) in contenders.items()}
    found: dict[str, list[Row]] = {name: [] for name in running}
    try:
        for done in range(rounds + 1):
            for name in running if done % 2 else reversed(running):
                found[name].append(running[name].turn())
    finally:
        for contender in running.values():
            contender.end()
    return {name: rows[1:] for name, rows in found.items()}


def page(found: dict[str, list[Row]]) -> list[str]:
    """The table of one data set."""
    first = next(iter(found.values()))
    rows = []
    for name, epochs in found.items():
        seconds, validating = ([row[key] for row in epochs] for key in ("seconds", "validating"))
        ratios = [
            paired_ratio(ours, [row[key] for row in first])
            for key, ours in (("seconds", seconds), ("validating", validating))
        ]
        rows.append(
            (
                name,
                written(spread([row["images_per_second"] for row in epochs]), 0),
                written(ratios[0], 2),
                written(spread([100 * row["waiting"] for row in epochs]), 0),
                written(ratios[1], 2),
            )
        )
    head = ["", "images/s (20th to 80th percentile)", "times as fast", "waiting, %", "validation, times as fast"]
    return table(head, rows)


def write_photographs(work: Path, width: int, height: int) -> Path:
    """A folder of two classes."""
    folder = work / f"photographs {width}"
    files = photographs(width, height)
    for number in range(FILES):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[number % len(files)])
    return folder


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--before", action="append", default=[], metavar="NAME=CHECKOUT", help="another commit's files")
    parser.add_argument("--work", type=Path, required=True, help="where photographs are written")
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--rounds", type=int, default=7, help="timed epochs of each, two at least")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="that each computes with")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    versions = [(name, Path(checkout) / "src") for name, _, checkout in (b.partition("=") for b in options.before)]
    sets = {"digits": ["digits"]}
    for name, size in PHOTOGRAPHS.items():
        folder = write_photographs(options.work, *size)
        sets[name] = ["folder", f"data.path={folder}", "data.batch_size=32", "model.pretrained=null"]
    body: list[str] = []
    for name, recipe in sets.items():
        contenders: dict[str, tuple[Path, Sequence[str]]] = {n: (sources, recipe) for n, sources in versions}
        contenders |= {n: (SOURCES, [*recipe, *settings]) for n, settings in NOW.items()}
        found = measure(contenders, options.threads, options.rounds)
        body += ["", f"## {name[0].upper()}{name[1:]}", "", *page(found)]
        print("\n".join(body[-len(found) - 4 :]), file=sys.stderr, flush=True)
    facts = {
        "threads": f"{options.threads} of each contender",
        "load": f"{load:.1f} processes wanted a core before, {os.getloadavg()[0]:.1f} after; at most 1 to 2 are ours",
    }
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", body, ["benchmarks/loading.py", *words], ["torchvision", "pillow"], facts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2], sys.argv[3:])
    else:
        main()

"""Images a second of training, with what is the same in every epoch made once, and before.

Each contender is a process that trains `maxvit_micro` by a recipe, as `maxvit train` does; they take turns, two updates
each, in the opposite order every second round, while the others sleep. The first epoch, in which images are decoded for
the first time, is left out, and so is validation, which has a column of its own. "Times as fast" is the first row's
time over that of a row, round by round; "waiting" is the share of time in which no data was there. CPU time is that of
the process, which other jobs on the machine change least.

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
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from decoding import photographs
from note import table, write_note

from maxvit.benchmark.page import written
from maxvit.benchmark.record import paired_ratio, spread

SOURCES = Path(__file__).parent.parent / "src"
FILES = 300
PHOTOGRAPHS = {"photographs of 320 x 240": (320, 240), "photographs of 2000 x 1500": (2000, 1500)}
NOW = {"now": [], "now, nothing kept": ["data.cache_gib=0"]}  # settings by name
TURN = 2  # updates
SUMMED = ("cpu", "images", "validating_cpu", "validated")
Turn = dict[str, float]


class Contender:
    """A process that trains for a turn when it is told to; the first epoch is done when it is made.

    Args:
        sources: The package.
        recipe: Its name, and settings.
        threads: That compute.
    """

    def __init__(self, sources: Path, recipe: Sequence[str], threads: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--train", *recipe],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(sources), "OMP_NUM_THREADS": str(threads)},
        )
        self._read()

    def turn(self) -> Turn:
        """The numbers of some updates."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> Turn:
        assert self.process.stdout is not None
        found: Turn = json.loads(self.process.stdout.readline())
        return found

    def end(self) -> None:
        """It has nothing to be kept."""
        self.process.kill()
        self.process.wait()


class Clock:
    """What has passed: in all, on the CPU, and in waiting for data."""

    def __init__(self) -> None:
        self.total: defaultdict[str, float] = defaultdict(float)
        self.start()

    def start(self) -> None:
        """Count from now on."""
        self._since = time.perf_counter(), time.process_time()

    def stop(self, seconds: str, cpu: str) -> None:
        """Add what has passed under these names."""
        self.total[seconds] += time.perf_counter() - self._since[0]
        self.total[cpu] += time.process_time() - self._since[1]
        self.start()


def train(recipe: str, settings: Sequence[str]) -> None:
    """In a contender's process: a line of numbers after the first epoch, then one for each turn, when a line comes."""
    from maxvit.training import run
    from maxvit.training.loop import Loop
    from maxvit.training.recipe import load_recipe

    clock = Clock()

    class Turns(Loop):
        def _update(self, parts: Any) -> None:
            super()._update(parts)
            clock.total["images"] += sum(len(batch.targets) for batch, _ in parts)
            if self.at.epoch and self.at.update % TURN == 0:
                self._report()

        def _report(self) -> None:
            clock.stop("seconds", "cpu")
            print(json.dumps({**clock.total, "waited": clock.total["waited"] + self.at.waited}), flush=True)
            if not sys.stdin.readline():
                sys.exit()  # whoever asked has ended
            self.at.waited = 0.0
            clock.total.clear()
            clock.start()

        def _validate(self) -> dict[str, float]:
            clock.stop("seconds", "cpu")
            result = super()._validate()
            clock.stop("validating", "validating_cpu")
            clock.total["validated"] += len(self.val.dataset.examples.names)
            return result

        def _end_epoch(self, val: dict[str, float]) -> None:
            clock.total["waited"] += self.at.waited
            super()._end_epoch(val)
            clock.start()
            if self.at.epoch == 1:
                self._report()

    run.Loop = Turns  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        run.train(load_recipe(recipe, [*settings, "optimization.epochs=1000"]), Path(folder) / "run")


def measure(contenders: dict[str, tuple[Path, Sequence[str]]], threads: int, rounds: int) -> dict[str, list[Turn]]:
    """Turns of each, round by round."""
    running: dict[str, Contender] = {}
    found: dict[str, list[Turn]] = {name: [] for name in contenders}
    try:
        for name, (sources, recipe) in contenders.items():
            running[name] = Contender(sources, recipe, threads)
        for done in range(rounds):
            for name in running if done % 2 else reversed(running):
                found[name].append(running[name].turn())
    finally:
        for contender in running.values():
            contender.end()
    return found


def page(found: dict[str, list[Turn]]) -> list[str]:
    """The table of one data set."""
    first = [turn["seconds"] / turn["images"] for turn in next(iter(found.values()))]
    rows = []
    for name, turns in found.items():
        total = {key: sum(turn.get(key, 0.0) for turn in turns) for key in SUMMED}
        rows.append(
            (
                name,
                written(spread([turn["images"] / turn["seconds"] for turn in turns]), 0),
                written(paired_ratio([turn["seconds"] / turn["images"] for turn in turns], first), 2),
                f"{1000 * total['cpu'] / total['images']:.2f}",
                written(spread([100 * turn["waited"] / turn["seconds"] for turn in turns]), 0),
                f"{1000 * total['validating_cpu'] / total['validated']:.2f}",
            )
        )
    head = [
        "",
        "images/s (20th to 80th percentile)",
        "times as fast",
        "CPU, ms an image",
        "waiting, %",
        "validation: CPU, ms an image",
    ]
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
    parser.add_argument("--rounds", type=int, default=22, help="turns of each, so many that each validates")
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
        "load": f"{load:.1f} processes wanted a core before, {os.getloadavg()[0]:.1f} after; one of them is ours",
    }
    words = sys.argv[1:] if arguments is None else arguments
    write_note(options.out, __doc__ or "", body, ["benchmarks/loading.py", *words], ["torchvision", "pillow"], facts)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2], sys.argv[3:])
    else:
        main()

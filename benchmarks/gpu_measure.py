"""Kernels and networks on one GPU, in one run that is short and can be cut anywhere: the most important parts first.

exact: the same bits in every run, and errors beside those of plain PyTorch, in inference and in training
split: every launch of the goals' networks alone
env: what the card can do: copies, products, and the vendor's products of our shapes
goals: the networks of the goals beside timm's, in inference and training, and their memory
profile: what the card's counters see of them, ours and timm's
tune: other tiles, programs, warps and stages of the kernels
kernels: single layers beside PyTorch's operators
networks: the other networks
tests: the kernels' own tests, with the sizes of the paper's networks
autotuned: the goals beside timm's networks as the compiler tunes them for minutes

All times are of CUDA graphs, so that they are the card's and not Python's. The numbers are written after every row, and
a run with the same --out goes on where the last one stopped. It says first how long its rows take on a card. With --dry
a row or two of each part run at the smallest size on a CPU, in Triton's interpreter.

    python benchmarks/gpu_measure.py --out benchmarks/results/gpu_CARD_YYYY-MM [--parts exact split]
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

if "--dry" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

import gpu_page
import numpy as np
import torch
from gpu_exact import exact_cells
from gpu_kernels import kernel_cells
from gpu_networks import autotuned_cells, goal_cells, network_cells
from gpu_setting import Cell, Result, Setting
from gpu_split import profile_cells, split_cells
from gpu_timing import one_time, reason
from gpu_tune import tune_cells
from note import circumstances

import maxvit
from maxvit import storage
from maxvit.benchmark.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests" / "kernels" / "gpu"
REAL_SIZES = TESTS / "test_gpu_real_sizes.py"
WHOLE = [f"the_whole_network and {name} and {hw}" for name in ("tiny", "base") for hw in ("hw0", "hw1")]
LONGEST = [*WHOLE, "step", "not the_whole_network and not step"]  # parts of that file, which leave nothing out
DRY_TESTS = [[TESTS / "test_gpu_statistics.py", "-k", "one_value"]]
DRY_TRAINING = ("exact", "goals", "tune", "kernels")
UNTIMED = ("exact", "tests")  # parts beside which other processes may compile
COMPILING_S = 75.0  # at most; what is not ready then is compiled in its row
PAGE_S = 8.0  # to write everything
Record = dict[str, Any]


def environment_cells() -> Iterator[Cell]:
    """Ceilings, and products by the vendor's library with a bias, and with GELU behind it."""
    yield Cell("copy and product", _ceilings, seconds=3.0)
    for inner, outer in ((256, 1024), (384, 1536), (1536, 384), (64, 256), (128, 512)):
        yield Cell(f"product of {inner} to {outer} channels", partial(_products, inner, outer), seconds=1.0)


def _ceilings(setting: Setting, deadline: float) -> Result:
    """Bytes a second of a large copy, and operations a second of a large product of matrices."""
    side, number = (64, 2**10) if setting.dry else (8192, 2**30)
    source = torch.zeros(number // setting.dtype.itemsize, device=setting.device, dtype=setting.dtype)
    a, b = torch.randn(2, side, side, device=setting.device, dtype=setting.dtype)
    target, product = torch.empty_like(source), torch.empty_like(a)
    copy = one_time(lambda: target.copy_(source), setting, 0.3)
    mm = one_time(lambda: torch.mm(a, b, out=product), setting, 0.3)
    return {
        "bytes_per_s": 2 * source.nbytes / copy["p20_s"],
        "flops_per_s": 2 * side**3 / mm["p20_s"],
        "state": _state(setting),
    }


def _state(setting: Setting) -> str:
    """Clocks, power and temperature."""
    if setting.device.type != "cuda":
        return ""
    query = "name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _products(inner: int, outer: int, setting: Setting, deadline: float) -> Result:
    rows = 64 if setting.dry else 50176
    x, w, b = (
        torch.randn(s, device=setting.device, dtype=setting.dtype) for s in ((rows, inner), (inner, outer), outer)
    )
    return {
        "addmm": one_time(lambda: torch.addmm(b, x, w), setting, 0.1),
        "with GELU": one_time(lambda: torch._addmm_activation(b, x, w, use_gelu=True), setting, 0.1),
    }


def test_cells() -> Iterator[Cell]:
    """Each file of tests is a process, and the longest is several: most of its time is one core's that compiles."""
    yield Cell("all", _tests, seconds=240.0)


def _tests(setting: Setting, deadline: float) -> Result:
    files = [path for path in sorted(TESTS.glob("test_gpu_*.py")) if path != REAL_SIZES]
    chosen = DRY_TESTS if setting.dry else [*([path] for path in files), *([REAL_SIZES, "-k", k] for k in LONGEST)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--rootdir", str(ROOT)]
    running = [(words, subprocess.Popen([*command, *map(str, words)], cwd=ROOT)) for words in chosen]
    try:
        codes = [process.wait(max(1.0, deadline - time.monotonic())) for _, process in running]
    except subprocess.TimeoutExpired:
        return {"failed": ["they took longer than there was time"]}
    finally:
        _stop(process for _, process in running)
    failed = [" ".join(map(str, words)) for (words, _), code in zip(running, codes, strict=True) if code]
    return {"failed": [name.replace(f"{TESTS}/", "") for name in failed]}


PARTS: dict[str, Callable[[], Iterator[Cell]]] = {
    "exact": exact_cells,
    "split": split_cells,
    "env": environment_cells,
    "goals": goal_cells,
    "profile": profile_cells,
    "tune": tune_cells,
    "kernels": kernel_cells,
    "networks": network_cells,
    "tests": test_cells,
    "autotuned": autotuned_cells,
}


@contextmanager
def compiling(parts: Iterable[str], setting: Setting) -> Iterator[Callable[[], None]]:
    """Processes that put the peers of the goals into the compiler's caches; called, it waits for them."""
    wanted = setting.compiles and {"goals", "profile"} & set(parts)
    command, end = [sys.executable, str(Path(__file__).resolve()), "--warm"], time.monotonic() + COMPILING_S
    running = [subprocess.Popen([*command, c.name], stdout=subprocess.DEVNULL) for c in goal_cells()] if wanted else []

    def wait() -> None:
        with suppress(subprocess.TimeoutExpired):
            for process in running:
                process.wait(max(1.0, end - time.monotonic()))
        _stop(running)

    try:
        yield wait
    finally:
        _stop(running)


def _stop(running: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.kill()
        process.wait()


def warm(name: str, setting: Setting) -> None:
    """Run a goal's row once, short, so that what is compiled is in the caches."""
    torch.cuda.set_per_process_memory_fraction(0.2)  # the parent wants some too
    next(cell for cell in goal_cells() if cell.name == name).measure(setting, time.monotonic() + COMPILING_S)


def start(path: Path, setting: Setting, words: list[str]) -> Record:
    """The record: a new one, or that of an earlier run of the same code on the same card."""
    facts = circumstances(["benchmarks/gpu_measure.py", *words], ["triton", "timm", "torchvision"])
    about = {**describe_machine(setting.device.type, torch.get_num_threads()), **facts, "source": _source()}
    if not path.exists():
        return {"about": about, "dry": setting.dry, "parts": {}, "not_run": {}}
    old: Record = json.loads(path.read_text())
    for what in ("GPU", "versions", "source"):
        if old["about"].get(what) != about.get(what):
            raise SystemExit(f"{path} is of another run ({what}: {old['about'].get(what)}); give another --out")
    return old


def _source() -> str:
    """A digest of what runs: the machine may have no git repository."""
    files = sorted(Path(maxvit.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def run(record: Record, chosen: dict[str, list[Cell]], setting: Setting, deadline: float, path: Path) -> None:
    """Measure the rows that the record lacks, and keep each at once."""
    record["not_run"] = {}
    storage.write_text(path, json.dumps(record, indent=1) + "\n")
    with compiling(chosen, setting) as compiled:
        for part, cells in chosen.items():
            if part not in UNTIMED:
                compiled()
            for cell in cells:
                _measure(record, part, cell, setting, deadline)
                storage.write_text(path, json.dumps(record, indent=1) + "\n")
            print(f"{part}: {deadline - time.monotonic():.0f} s left", flush=True)


def _measure(record: Record, part: str, cell: Cell, setting: Setting, deadline: float) -> None:
    done = record["parts"].setdefault(part, {})
    if cell.name in done:
        return
    if time.monotonic() + cell.seconds > deadline and not setting.dry:
        record["not_run"][f"{part}: {cell.name}"] = "no time was left"
        return
    try:
        done[cell.name] = cell.measure(setting, deadline)
    except Exception as error:  # of anybody's code: the other rows are measured nevertheless
        record["not_run"][f"{part}: {cell.name}"] = reason(error)
    torch.compiler.reset()  # what was compiled for a row need not be kept
    if setting.device.type == "cuda":
        torch.cuda.synchronize()  # raises where a kernel broke the card's state: nothing can be timed any more
        torch.cuda.empty_cache()


def _few(part: str, cells: list[Cell]) -> list[Cell]:
    """The first row of a part, and the first of a training where that is code of its own."""
    training = [cell for cell in cells[1:] if "training" in cell.name] if part in DRY_TRAINING else []
    return [*cells[:1], *training[:1]]


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.json, OUT.md and OUT.png."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="where to write, without the ending")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS, help="which, in their order")
    parser.add_argument("--only", default="", help="a regular expression: rows whose name has it")
    parser.add_argument("--list", action="store_true", help="name the rows and how long they take, and do nothing")
    parser.add_argument(
        "--dry", action="store_true", help="a row or two of each part, on the CPU, at the smallest size"
    )
    parser.add_argument("--warm", metavar="ROW", help=argparse.SUPPRESS)  # the child's
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words)
    setting = Setting(torch.device("cpu" if options.dry else "cuda"), options.dry)
    if options.warm is not None:
        return warm(options.warm, setting)
    chosen = {
        part: [cell for cell in make() if re.search(options.only, cell.name)]
        for part, make in PARTS.items()
        if part in options.parts
    }
    for part, cells in chosen.items():
        print(f"{part}: {len(cells)} rows, about {sum(cell.seconds for cell in cells):.0f} s on a card")
        if options.list:
            print("".join(f"    {cell.name}\n" for cell in cells), end="")
    seconds = sum(cell.seconds for cells in chosen.values() for cell in cells)
    print(f"all: about {seconds / 60:.1f} minutes on a card; rows for which no time is left are named", flush=True)
    if options.list:
        return
    if not options.dry and not torch.cuda.is_available():
        print("there is no GPU here, and times of a CPU say nothing of one: try --dry", file=sys.stderr)
        raise SystemExit(2)
    if options.out is None:
        parser.error("--out says where to write")
    if options.dry:
        chosen = {part: _few(part, cells) for part, cells in chosen.items()}
    path, deadline = options.out.with_name(f"{options.out.name}.json"), begin + 60 * options.minutes - PAGE_S
    record = start(path, setting, words)
    with np.errstate(over="ignore"):  # of the interpreter's exponentials, which are infinite on a GPU without a word
        run(record, chosen, setting, deadline, path)
    gpu_page.write(options.out, record)
    print(f"wrote {options.out}.json, .md and .png, {time.monotonic() - begin:.0f} s after the start")


if __name__ == "__main__":
    main()

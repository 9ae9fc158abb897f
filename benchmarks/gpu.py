"""Kernels and networks on one GPU: are they right, and if they are, how fast, beside PyTorch, timm and torchvision.

First the kernels' tests run; where one fails, nothing is timed. Meanwhile `torch.compile` prepares the peers of the
first cells in processes of their own. Then cells are timed in order of importance until the time is up. The numbers are
written after every cell, and a run with the same --out goes on where the last one stopped.

    python benchmarks/gpu.py --out benchmarks/results/gpu_CARD_YYYY-MM
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gpu_page
import matplotlib
import torch
from gpu_kernels import kernel_cells
from gpu_networks import network_cells, stage_cells
from gpu_setting import Cell, Setting
from gpu_timing import ceilings, measure, reason
from note import circumstances

import maxvit
from maxvit import storage
from maxvit.benchmark.machine import describe_machine

ROOT = Path(__file__).resolve().parent.parent
CHECKS = ROOT / "tests" / "kernels" / "gpu"
REAL_SIZES = CHECKS / "test_gpu_real_sizes.py"
WHOLE = [f"the_whole_network and {name} and {hw}" for name in ("tiny", "base") for hw in ("hw0", "hw1")]
LONGEST = [*WHOLE, "step", "not the_whole_network and not step"]  # parts of that file, which leave nothing out
DRY_CHECKS = [[CHECKS / "test_gpu_attention.py", "-k", "float32 and block"]]
GOALS = 4  # cells that go before all kernels, and whose peers are compiled during the tests
SHARE_OF_CHECKS = 0.8  # of the time, at most; once passed, the next run with the same --out need not check
READY_S = {"network": 20.0, "stage": 10.0}  # that a cell needs before its rounds, compiled or not
PAGE_S = 8.0  # to write everything


def cells() -> list[Cell]:
    """All, the most important first."""
    networks = list(network_cells())
    return [*networks[:GOALS], *kernel_cells(), *stage_cells(), *networks[GOALS:]]


def check(setting: Setting, chosen: list[Cell], limit_s: float) -> str:
    """Run the kernels' tests, and compile the peers of the first cells meanwhile. Returns what is wrong, or nothing.

    Each file of tests is a process, and the longest is several, since most of its time is one core's that compiles.
    """
    script, end = str(Path(__file__).resolve()), time.monotonic() + limit_s
    goals = [] if setting.dry else chosen[:GOALS]
    warming = [subprocess.Popen([sys.executable, script, "--warm", c.name], stdout=subprocess.DEVNULL) for c in goals]
    files = [path for path in sorted(CHECKS.glob("test_gpu_*.py")) if path != REAL_SIZES]
    tests = DRY_CHECKS if setting.dry else [*([path] for path in files), *([REAL_SIZES, "-k", k] for k in LONGEST)]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--rootdir", str(ROOT)]
    running = [subprocess.Popen([*command, *map(str, words)], cwd=ROOT) for words in tests]
    try:
        codes = [process.wait(max(1.0, end - time.monotonic())) for process in running]
    except subprocess.TimeoutExpired:
        return f"the kernels' tests took longer than {limit_s:.0f} s"
    else:
        with suppress(subprocess.TimeoutExpired):  # what is not ready then is compiled in its cell
            for process in warming:
                process.wait(max(1.0, end - time.monotonic()))
        return "" if codes and not any(codes) else f"the kernels' tests failed, with exit codes {codes}"
    finally:
        for process in (*running, *warming):
            process.kill()
            process.wait()


def warm(name: str, setting: Setting) -> None:
    """Run every contender of a cell once, so that what is compiled is in the caches."""
    torch.cuda.set_per_process_memory_fraction(0.8 / GOALS)  # the tests want some too
    work = next(cell for cell in cells() if cell.name == name).work(setting)
    for make in work.contenders.values():
        try:
            make()()
        except Exception as error:  # of anybody's code; the cell will say so
            print(f"{name}: {error}", file=sys.stderr)


def about(setting: Setting, words: list[str]) -> dict[str, str]:
    """Machine, versions, commit, command."""
    facts = circumstances(["benchmarks/gpu.py", *words], ["triton", "timm", "torchvision"])
    return {**describe_machine(setting.device.type, torch.get_num_threads()), **facts, "source": _source()}


def _source() -> str:
    """A digest of what runs: the machine may have no git repository."""
    files = sorted(Path(maxvit.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def start(path: Path, setting: Setting, words: list[str]) -> dict[str, Any]:
    """The record: a new one, or that of an earlier run of the same code on the same card."""
    new = {"about": about(setting, words), "dry": setting.dry, "checked": False, "ceilings": {}, "cells": []}
    if not path.exists():
        return {**new, "not_run": {}}
    old: dict[str, Any] = json.loads(path.read_text())
    for what in ("GPU", "versions", "source"):
        if old["about"].get(what) != new["about"].get(what):
            raise SystemExit(f"{path} is of another run ({what}: {old['about'].get(what)}); give another --out")
    return old


def run(record: dict[str, Any], chosen: list[Cell], setting: Setting, deadline: float, path: Path) -> None:
    """Time the cells that the record lacks, and keep each at once."""
    record["not_run"] = {}
    done = {cell["name"] for cell in record["cells"]}
    for cell in (cell for cell in chosen if cell.name not in done):
        left = deadline - time.monotonic() - cell.budget_s - READY_S.get(cell.name.split()[0], 2.0)
        if left < 0 and not setting.dry:
            record["not_run"][cell.name] = "no time was left"
            continue
        try:
            work = cell.work(setting)
            found = measure(work, setting.device, 0.2 if setting.dry else cell.budget_s, deadline)
        except Exception as error:  # of anybody's code: the other cells are timed nevertheless
            record["not_run"][cell.name] = reason(error)
        else:
            known = {"ours": next(iter(work.contenders)), "flops": work.flops, "bytes": work.bytes}
            record["cells"].append({"name": cell.name, **known, "images": work.images, **asdict(found)})
            del work
        _write(path, record)
        _free(setting)
        print(f"{cell.name}: {deadline - time.monotonic():.0f} s left", flush=True)
    _write(path, record)


def _free(setting: Setting) -> None:
    """What a cell held: its contenders are gone, and what was compiled for them need not be kept.

    Raises:
        RuntimeError: If a kernel broke the card's state, in which nothing can be timed any more.
    """
    torch.compiler.reset()
    if setting.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()


def _write(path: Path, record: dict[str, Any]) -> None:
    storage.write_text(path, json.dumps(record, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Check, time, and write OUT.json, OUT.md and OUT.png."""
    begin = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="where to write, without the ending")
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument("--only", default="", help="a regular expression: of cells whose name has it")
    parser.add_argument("--list", action="store_true", help="name the cells, and do nothing")
    parser.add_argument("--dry", action="store_true", help="try the script on the CPU, with the smallest network")
    parser.add_argument("--warm", metavar="CELL", help=argparse.SUPPRESS)  # the child's
    words = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(words)
    chosen = [cell for cell in cells() if re.search(options.only, cell.name)]
    if options.list:
        print("\n".join(cell.name for cell in chosen))
        return
    if not options.dry and not torch.cuda.is_available():
        print("there is no GPU here, and times of a CPU say nothing of one: try --dry", file=sys.stderr)
        raise SystemExit(2)
    setting = Setting(torch.device("cpu" if options.dry else "cuda"), options.dry)
    if options.warm is not None:
        return warm(options.warm, setting)
    if options.out is None:
        parser.error("--out says where to write")
    path, deadline = options.out.with_name(f"{options.out.name}.json"), begin + 60 * options.minutes - PAGE_S
    record = start(path, setting, words)
    if not record["checked"]:
        if wrong := check(setting, chosen, SHARE_OF_CHECKS * 60 * options.minutes):
            raise SystemExit(f"nothing is timed: {wrong}")
        record["checked"] = True
        record["ceilings"] = ceilings(setting.device, setting.dtype)
        _write(path, record)
    run(record, chosen, setting, deadline, path)
    gpu_page.write(options.out, record)
    print(f"wrote {options.out}.json, .md and .png, {time.monotonic() - begin:.0f} s after the start")


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()

"""Exported files beside PyTorch: how far their answers are, and what memory an export takes at most.

Each export has a process of its own, which makes the network (random weights), writes the file, checks it, runs it and
compares it with PyTorch in fp32 on two random images and two photographs. The peak is that of the whole process, with
PyTorch itself, the network and both runs.

    python benchmarks/exports.py --out benchmarks/results/exports_HARDWARE_YYYY-MM
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from note import table, write_note

import maxvit
from maxvit.benchmark.machine import peak_bytes
from maxvit.cli.console import read_size
from maxvit.data.builtin import photographs
from maxvit.export.export import ENDINGS

VARIANTS = ["micro", "tiny", "small", "base", "large", "xlarge"]
JOBS = [
    *(f"{variant}:{to}" for variant in VARIANTS for to in ENDINGS),
    *(f"tiny@{size}:{to}" for size in ("384", "512", "225x321") for to in ENDINGS),
]


def one(job: str) -> dict[str, float]:
    """Export in this process. `job` is VARIANT[@SIZE]:FORMAT; at a square size windows are scaled to it."""
    name, to = job.split(":")
    variant, _, size = name.partition("@")
    torch.manual_seed(0)
    model = maxvit.create_model(f"maxvit_{variant}").eval()
    options = maxvit.ExportOptions(image_size=read_size(size) if size else None)
    if options.image_size and options.image_size[0] == options.image_size[1]:
        model.set_image_size(options.image_size)
    before = peak_bytes()  # of this process alone: what getrusage says begins with the parent's
    assert before is not None, "how much memory a process holds is asked as Linux answers"
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        done = maxvit.export_model(model, Path(folder) / f"model{ENDINGS[to]}", to, options, photographs())
        size_on_disk = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "weights": sum(t.numel() * t.element_size() for t in model.state_dict().values()),
        "before": before,
        "peak": peak_bytes() or 0,
        "seconds": time.perf_counter() - start,
        "bytes": size_on_disk,
        "largest": done.verification.largest,
        "relative": done.verification.relative,
    }


def body(found: dict[str, dict[str, float]]) -> list[str]:
    """The result as Markdown."""
    rows = []
    for job, result in found.items():
        gigabytes = [f"{result[key] / 1e9:.2f}" for key in ("weights", "bytes", "before", "peak")]
        rows.append([job.replace(":", ", "), f"{result['relative']:.1e}", *gigabytes, f"{result['seconds']:.0f}"])
    head = ["network, format", "relative difference", "weights, GB", "files, GB", "before, GB", "peak, GB", "seconds"]
    return table(head, rows)


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="where to write, without the ending")
    parser.add_argument("--jobs", nargs="+", default=JOBS, help="VARIANT[@SIZE]:FORMAT each")
    parser.add_argument("--one", help="do this one here, and print the figures")
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(one(options.one)))
        return
    if not options.out:
        parser.error("--out is wanted")
    found = {}
    for job in options.jobs:
        made = subprocess.run([sys.executable, __file__, "--one", job], check=True, stdout=subprocess.PIPE, text=True)
        found[job] = json.loads(made.stdout.splitlines()[-1])
        print(job, found[job], file=sys.stderr, flush=True)
    words = sys.argv[1:] if arguments is None else arguments
    packages = ["onnx", "onnxruntime", "openvino"]
    print(write_note(options.out, __doc__ or "", body(found), ["benchmarks/exports.py", *words], packages).read_text())


if __name__ == "__main__":
    main()

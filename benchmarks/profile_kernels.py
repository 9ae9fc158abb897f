"""Where the time of the native kernels goes, by what they do.

Samples of all threads while the optimised network runs, counted by the function that they fall into; it takes Linux and
its `perf`. What the compiler has put inside another function counts there: GELU, norms and sums with residuals belong
to the step that they end.

    python benchmarks/profile_kernels.py --out benchmarks/results/profile_kernels_HARDWARE_YYYY-MM
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from note import table, write_note

from maxvit import create_model, optimize

# the first that is found in "library symbol" says what a sample is
STEPS = {
    "matrix products": r"^kernels\S* (multiply|void multiply)",
    "rounding to 8 bits": r"^kernels\S* .*quantise",
    "attention: packing keys, position bias, softmax": r"^kernels\S* .*attend",
    "attention layers: norms, GELU, residuals": r"^kernels\S* .*attention_layer",
    "MBConv: depthwise convolution, GELU before and after": r"^kernels\S* .*(widen|depthwise)",
    "MBConv: scaling, pooling, residual": r"^kernels\S* .*(narrow|mbconv|excite|average)",
    "the stem's transforms and GELU": r"^kernels\S* .*(stem|transform)",
    "waiting for another thread": r"^(libgomp|kernels\S* .*Steps::wait)",
    "the kernels' rest": r"^kernels",
    "PyTorch and Python: head, calls": r"^(libtorch|libc10|libpython|python|_)",
}
OTHER = "the system and its libraries"


def functions_of(recording: str) -> Counter[str]:
    """Share of each function in percent, by "library symbol"."""
    report = ["perf", "report", "-i", recording, "--sort", "dso,symbol", "--stdio"]
    done = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    found: Counter[str] = Counter()
    for percent, library, symbol in re.findall(r"^\s*([\d.]+)%\s+(\S+)\s+\[.\]\s+(.*?)\s*$", done, re.MULTILINE):
        found[f"{library} {symbol}"] += float(percent)
    return found


def by_step(functions: Counter[str]) -> Counter[str]:
    """The same by what they do."""
    found: Counter[str] = Counter()
    for name, share in functions.items():
        found[next((step for step, pattern in STEPS.items() if re.search(pattern, name)), OTHER)] += share
    return found


def profile(model: str, precision: str, batch: int, seconds: float) -> tuple[float, Counter[str]]:
    """Milliseconds of a forward, and the shares of its steps in percent."""
    network, images = optimize(create_model(model), precision=precision), torch.randn(batch, 3, 224, 224)
    with tempfile.NamedTemporaryFile(suffix=".perf") as file, torch.inference_mode():
        for _ in range(3):
            network(images)
        record = ["perf", "record", "-q", "-F", "999", "-e", "cpu-clock", "-o", file.name, "-p", str(os.getpid())]
        recorder = subprocess.Popen(record, stderr=subprocess.DEVNULL)
        time.sleep(1)  # it looks for threads first
        start, runs = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            network(images)
            runs += 1
        took = (time.perf_counter() - start) / runs
        recorder.send_signal(signal.SIGINT)
        recorder.wait()
        return 1e3 * took, by_step(functions_of(file.name))


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--model", default="maxvit_tiny", help="a variant")
    parser.add_argument("--seconds", type=float, default=20, help="of computing, for each column")
    options = parser.parse_args(arguments)
    if shutil.which("perf") is None:
        sys.exit("perf is not installed: it is part of Linux's own tools (Debian: linux-perf)")
    columns = [("fp32", 8), ("fp32", 1), ("int8", 8), ("int8", 1)]
    found = [profile(options.model, precision, batch, options.seconds) for precision, batch in columns]
    heads = [f"{precision}, batch {batch}" for precision, batch in columns]
    rows = [[step, *(f"{shares[step]:.1f} %" for _, shares in found)] for step in (*STEPS, OTHER)]
    rows.append(["a forward under the profiler", *(f"{ms:.1f} ms" for ms, _ in found)])
    words = sys.argv[1:] if arguments is None else arguments
    body = [f"{options.model}, images of 224 x 224.", "", *table(["", *heads], rows)]
    write_note(options.out, __doc__ or "", body, ["benchmarks/profile_kernels.py", *words])


if __name__ == "__main__":
    main()

"""How time and memory of block + grid attention grow with the image, beside full attention over the same map.

Each contender is two layers of attention and feed-forward network with the same weights, on the map of the first
stage (a quarter of the image's side); only who attends to whom differs. Full attention runs in two ways: fused, and
with all scores in memory, which is how it runs once it has a relative position bias. Inference, fp32, one image, CPU.

    export OMP_NUM_THREADS=1                # steady on a machine that others use too
    export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736    # see KEEPS_MEMORY
    python benchmarks/attention_scaling.py --out benchmarks/results/attention_scaling
"""

import argparse
import copy
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from maxvit import MaxSA
from maxvit.layers.attention import GroupAttention

STRIDE = 4  # of the first stage's map
MAXSA, FUSED, SCORES = "block + grid", "full, fused", "full, scores in memory"
FULL = {FUSED: SDPBackend.FLASH_ATTENTION, SCORES: SDPBackend.MATH}
COLOURS = {MAXSA: "#0b6e4f", FUSED: "#d1495b", SCORES: "#b07d00"}
# Without this glibc gives large tensors back to the system and asks for them again, page by page, in every run: at 1792
# pixels 855,000 page faults, which is half of the time, and nothing that attention does.
KEEPS_MEMORY = ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
Record = dict[str, Any]  # contender, image_side, map_side; then times_s and peak_bytes, or skipped


class FullAttention(nn.Module):
    """Attention of every token to every other, with the projections of a `GroupAttention` and no position bias."""

    def __init__(self, like: GroupAttention, backend: SDPBackend) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads, self.backend = like.qkv, like.proj, like.heads, backend

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        q, k, v = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, N, HW, D)
        with sdpa_kernel(self.backend):
            out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3]))


def full_attention(maxsa: MaxSA, backend: SDPBackend) -> MaxSA:
    """The same two layers, each attending to the whole map."""
    full = copy.deepcopy(maxsa)
    for layer in (full.block_attention, full.grid_attention):
        layer.attention = FullAttention(layer.attention, backend)  # type: ignore[assignment]
    return full


def feature_map(dim: int, side: int) -> Tensor:
    """(1, dim, side, side), channels_last, as the network makes it."""
    return torch.randn(1, dim, side, side).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def check(dim: int) -> None:
    """Refuse to time what is wrong: where one window is the whole map, without bias, all are the same function."""
    whole = MaxSA(dim, 14, 14).eval()
    for layer in (whole.block_attention, whole.grid_attention):
        nn.init.zeros_(layer.attention.bias.table)
    x = feature_map(dim, 14)
    for backend in FULL.values():
        torch.testing.assert_close(full_attention(whole, backend)(x), whole(x))


def peak_bytes(run: Callable[[], object]) -> int:
    """The most that PyTorch's allocator holds at once beyond what it held before, from a profiler's trace."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e["name"] == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most


def seconds(run: Callable[[], object]) -> float:
    """The time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def measure_size(networks: dict[str, MaxSA], skipped: dict[str, str], x: Tensor, repeats: int) -> list[Record]:
    """Measure every contender that is not skipped on one map: the peak first, which warms up, then turn by turn."""
    runs = {name: lambda n=network: n(x) for name, network in networks.items() if name not in skipped}
    peaks = {name: peak_bytes(run) for name, run in runs.items()}
    times = {name: [seconds(run)] for name, run in runs.items()}
    in_a_minute = int(60 / sum(first for (first,) in times.values())) if times else 0
    for _ in range(min(repeats, max(3, in_a_minute)) - 1):
        for name, run in runs.items():
            times[name].append(seconds(run))
    at = {"image_side": x.shape[2] * STRIDE, "map_side": x.shape[2]}
    records = [{"contender": n, **at, "times_s": times[n], "peak_bytes": peaks[n]} for n in runs]
    return records + [{"contender": n, **at, "skipped": reason} for n, reason in skipped.items()]


def too_large(before: list[Record], map_side: int, heads: int, longest_s: float, memory_gb: float) -> dict[str, str]:
    """Which contenders to skip at a size, and why, judged by the sizes before it; quadratic in the tokens for full."""
    skipped = {}
    scores_gb = 2 * heads * map_side**4 * 4 / 1e9  # before and after softmax
    if scores_gb > memory_gb:
        skipped[SCORES] = f"scores would take {scores_gb:.0f} GB, the limit is {memory_gb:g}"
    for name in (MAXSA, *FULL):
        known = [r for r in before if r["contender"] == name and "times_s" in r]
        if known and name not in skipped:
            last = known[-1]
            expected = median(last["times_s"]) * (map_side / last["map_side"]) ** (2 if name == MAXSA else 4)
            if expected > longest_s:
                skipped[name] = f"one run would take about {expected:.0f} s, the limit is {longest_s:g}"
    return skipped


def spread(record: Record) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile of the times, in s."""
    p20, *_, p80 = quantiles(record["times_s"], n=5, method="inclusive")
    return median(record["times_s"]), p20, p80


def row(record: Record) -> str:
    """One line of the table. Pixels are those of the image."""
    side, pixels = record["image_side"], record["image_side"] ** 2
    start = f"| {side} | {record['map_side']} x {record['map_side']} | {record['contender']} |"
    if "skipped" in record:
        return f"{start} skipped: {record['skipped']} | | | | |"
    mid, p20, p80 = spread(record)
    peak, runs = record["peak_bytes"], len(record["times_s"])
    time_ms = f"{mid * 1e3:.1f} ({p20 * 1e3:.1f} to {p80 * 1e3:.1f})"
    return f"{start} {time_ms} | {mid / pixels * 1e9:.0f} | {peak / 1e6:.1f} | {peak / pixels:.0f} | {runs} |"


def page(about: Record, records: list[Record]) -> str:
    """The results as Markdown."""
    columns = ("image side", "map", "attention", "time, ms (20th to 80th percentile)", "ns per pixel")
    columns += ("peak, MB", "bytes per pixel", "runs")
    facts = "\n".join(f"- {key}: {value}" for key, value in about.items())
    return f"""# Attention over larger and larger images

{(__doc__ or "").split("    export", maxsplit=1)[0].strip()}

![Time and peak memory per pixel]({about["figure"]})

| {" | ".join(columns)} |
|---:|---|---|---:|---:|---:|---:|---:|
{chr(10).join(row(r) for r in records)}

Pixels are those of the image. Time is the median of runs that take turns. Peak memory is the most that PyTorch's
allocator holds at once beyond weights and input (scratch space inside the libraries that it calls is not seen).
Fused full attention needs no more memory than block + grid: it pays in time alone.

Freed memory stays with the process (`MALLOC_...` below). With glibc as it comes, tensors of hundreds of megabytes are
asked of the system anew in every run, page by page, and at 1792 pixels block + grid takes about twice as long.

{facts}
"""


def figure(records: list[Record]) -> Figure:
    """Time and peak memory per pixel against the image's side: a level line is linear cost, a steep one quadratic."""
    drawing = Figure(figsize=(10, 4.2), layout="constrained", facecolor="white")
    sides = sorted({r["image_side"] for r in records})
    panels = drawing.subplots(1, 2)
    for panel, what in zip(panels, ("time per pixel, ns", "peak memory per pixel, bytes"), strict=True):
        for name, colour in reversed(COLOURS.items()):
            shown = [r for r in records if r["contender"] == name and "times_s" in r]
            x = [r["image_side"] for r in shown]
            if panel is panels[0]:
                y, low, high = (
                    [v / r["image_side"] ** 2 * 1e9 for r, v in zip(shown, values, strict=True)]
                    for values in (zip(*map(spread, shown), strict=True) if shown else ([], [], []))
                )
                panel.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
            else:
                y = [r["peak_bytes"] / r["image_side"] ** 2 for r in shown]
            size = 9 if name == FUSED else 5  # seen behind another where two are the same
            panel.plot(x, y, marker="o", markersize=size, linewidth=size / 3, color=colour, label=name)
        panel.set(xscale="log", yscale="log", xlabel="image side, pixels", ylabel=what)
        panel.set_xticks(sides, [str(s) for s in sides])
        panel.xaxis.minorticks_off()
        panel.grid(True, which="both", color="#e4e4e4", linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    drawing.suptitle("Two layers of attention and FFN on the first stage's map")
    return drawing


def setting() -> Record:
    """Where and of what the numbers are."""
    cpu = platform.processor() or "unknown"
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    commit = _git("rev-parse", "--short", "HEAD")
    changed = _git("status", "--porcelain", "--", "src/maxvit/layers", __file__)  # of what runs here
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; shared with other work",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": f"Python {platform.python_version()}, PyTorch {torch.__version__}",
        "commit": (commit or "unknown") + (", with changes" if changed else ""),
        "memory allocator": " ".join(f"{k}={os.environ[k]}" for k in KEEPS_MEMORY if k in os.environ) or "as it comes",
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def _git(*arguments: str) -> str:
    """What git says about this repository; nothing where there is none."""
    folder = Path(__file__).parent.parent
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write OUT.json, OUT.md and OUT.png."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, required=True, help="where to write, without the ending")
    parser.add_argument("--sides", type=int, nargs="+", default=[224, 448, 896, 1792], help="image sides, rising")
    parser.add_argument("--dim", type=int, default=64, help="channels")
    parser.add_argument("--window", type=int, default=7, help="window and grid")
    parser.add_argument("--repeats", type=int, default=15, help="timed runs of each; 3 to this many in a minute")
    parser.add_argument("--longest-s", type=float, default=40, help="skip what would take longer")
    parser.add_argument("--memory-gb", type=float, default=6, help="skip what would hold more in scores")
    options = parser.parse_args(arguments)

    torch.manual_seed(0)
    check(options.dim)
    print("all contenders compute the same where one window is the whole map", flush=True)
    maxsa = MaxSA(options.dim, options.window, options.window).eval()
    networks = {MAXSA: maxsa, **{name: full_attention(maxsa, backend) for name, backend in FULL.items()}}
    heads = maxsa.block_attention.attention.heads
    records: list[Record] = []
    for side in options.sides:
        map_side = side // STRIDE
        skipped = too_large(records, map_side, heads, options.longest_s, options.memory_gb)
        new = measure_size(networks, skipped, feature_map(options.dim, map_side), options.repeats)
        print("\n".join(map(row, new)), flush=True)
        records += new

    shape = f"{options.dim} channels, {heads} heads, window and grid {options.window}"
    command = "python benchmarks/attention_scaling.py " + " ".join(sys.argv[1:] if arguments is None else arguments)
    names = {ending: options.out.with_name(f"{options.out.name}.{ending}") for ending in ("json", "md", "png")}
    about = {"layers": shape, **setting(), "command": f"`{command}`", "figure": names["png"].name}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    names["json"].write_text(json.dumps({"about": about, "records": records}, indent=1) + "\n")
    names["md"].write_text(page(about, records))
    figure(records).savefig(names["png"], dpi=110)
    print(f"wrote {', '.join(map(str, names.values()))}")


if __name__ == "__main__":
    matplotlib.use("Agg")
    main()

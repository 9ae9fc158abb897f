"""The record of `benchmarks/gpu_measure.py` as a page and a picture; on its own, of a file from elsewhere.

python benchmarks/gpu_page.py OUT.json
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from note import table

from maxvit import storage
from maxvit.benchmark.record import Spread, paired_ratio, spread

Record = dict[str, Any]
Cell = dict[str, Any]
OURS, THEIRS, INK, GRID = "#0b6e4f", "#b9c0c7", "#2b2f33", "#e8eaec"
INTRODUCTION = """Contenders of a row get the same inputs and take turns; those whose answers are off are not timed.
Times are medians with 20th and 80th percentile of CUDA graphs, by CUDA's events. "Eager" is a run that Python launches
(or, of a contender that is a graph by itself, this graph). A ratio is that of times of the same round: above 1, ours is
faster. Peak memory is the most that PyTorch's allocator holds in an eager run, parameters included. Bytes are the least
that must move, so that what moves more shows fewer a second; small maps stay in the card's cache for every contender
alike. The JSON file has all of it, with every time of every row."""
COMPARED = ("goals", "kernels", "networks", "autotuned")  # parts whose rows are contenders


def write(out: Path, record: Record) -> None:
    """Write OUT.md and OUT.png."""
    figure = draw(record)
    storage.write_atomically(out.with_name(f"{out.name}.png"), lambda path: figure.savefig(path, format="png", dpi=110))
    storage.write_text(out.with_name(f"{out.name}.md"), page(record, f"{out.name}.png"))


def page(record: Record, picture: str) -> str:
    """The record as Markdown."""
    title = "Kernels and networks on a GPU" + (" (dry run: no GPU, and no measurement)" if record["dry"] else "")
    lines = [f"# {title}", "", INTRODUCTION, "", f"![Ratios of times, and a roofline]({picture})", ""]
    ceiling = _ceiling(record)
    if ceiling:
        lines += [
            f"Ceilings of this card, in this run: {ceiling['bytes_per_s'] / 1e12:.2f} TB/s in a large copy,"
            f" {ceiling['flops_per_s'] / 1e12:.1f} TFLOP/s in a large product of matrices.",
            "",
        ]
    cells = _compared(record)
    head = [
        "row",
        "contender",
        "time, ms",
        "theirs / ours",
        "eager, ms",
        "images/s",
        "GB/s",
        "TFLOP/s",
        "of the ceiling",
    ]
    lines += table([*head, "MB"], [row for cell in cells for row in _rows(cell, ceiling)])
    slower = [f"- {cell['name']}: {_words(r)} of {name}" for cell in cells for name, r in _slower(cell)]
    lines += ["", "## Where ours is not faster", "", *(slower or ["- nowhere, of what was timed"])]
    for title, rows in _others(record).items():
        lines += ["", f"## {title}", "", *(rows or ["- not run"])]
    missing = [f"- {c['name']}, {n}: {why}" for c in cells for n, why in c["missing"].items()]
    missing += [f"- {name}: {why}" for name, why in record["not_run"].items()]
    lines += ["", "## Not timed", "", *(missing or ["- nothing"]), ""]
    return "\n".join([*lines, *(f"- {heading}: {fact}" for heading, fact in record["about"].items()), ""])


def _ceiling(record: Record) -> dict[str, float] | None:
    found: dict[str, float] | None = record["parts"].get("env", {}).get("copy and product")
    return found


def _compared(record: Record) -> list[Cell]:
    return [{"name": n, **cell} for part in COMPARED for n, cell in record["parts"].get(part, {}).items()]


def _others(record: Record) -> dict[str, list[str]]:
    """The parts that compare no contenders: lines by title."""
    parts = {part: record["parts"].get(part, {}) for part in ("exact", "tests", "split", "profile", "tune")}
    exact = []
    for name, found in parts["exact"].items():
        worst = "; ".join(f"{n} {ours:.1e} ({plain:.1e})" for n, (ours, plain) in list(found["worst"].items())[:2])
        same = "the same bits in every run" if found["same_bits"] else "**other bits in another run**"
        exact.append(
            f"- {name}: {same}; error {found['error']:.1e}, plain PyTorch's {found['plain_error']:.1e};"
            f" furthest from it, with PyTorch's: {worst}"
        )
    exact += [f"- the kernels' tests that fail: {', '.join(c['failed']) or 'none'}" for c in parts["tests"].values()]
    split = []
    for name, found in parts["split"].items():
        ms = f"{found['whole']['median_s'] * 1e3:.2f} ms, our launches {found['launches_s'] * 1e3:.2f} ms of it"
        timed = {n: r["times"] * r["median_s"] * 1e6 for n, r in found["launches"].items() if "median_s" in r}
        longest = sorted(timed, key=timed.__getitem__, reverse=True)[:5]
        split.append(f"- {name}: {ms}; in us: " + ", ".join(f"{n.split()[0]} {timed[n]:.0f}" for n in longest))
    profile = [f"- {n}: {f['seconds'] * 1e3:.2f} ms a run" for n, f in parts["profile"].items() if "seconds" in f]
    tune = []
    for name, rows in parts["tune"].items():
        us = {n: row["median_s"] * 1e6 for n, row in rows.items() if "median_s" in row}
        best = sorted(us, key=us.__getitem__)[:3]
        tune.append(
            f"- {name}: " + ", ".join(f"{n} {us[n]:.1f} us" for n in dict.fromkeys(["as it is", *best]) if n in us)
        )
    titles = ("What must hold", "Launch by launch", "What the card's counters see", "Other tiles")
    return dict(zip(titles, (exact, split, profile, tune), strict=True))


def _rows(cell: Cell, ceiling: dict[str, float] | None) -> list[list[str]]:
    rows, ours = [], _ours(cell)
    for name, times in cell["times_s"].items():
        time, ratio, peak = spread(times), "", cell["peak_bytes"].get(name)
        if ours and name != ours:
            ratio = _words(paired_ratio(cell["times_s"][ours], times))
        moved = cell["bytes"] and cell["bytes"] / time.median
        flops = cell["flops"] / time.median
        share = ceiling and max((moved or 0) / ceiling["bytes_per_s"], flops / ceiling["flops_per_s"])
        rows.append(
            [
                "" if rows else cell["name"],
                name,
                f"{time.median * 1e3:.3f} ({time.p20 * 1e3:.3f} to {time.p80 * 1e3:.3f})",
                ratio,
                f"{cell['eager_s'][name] * 1e3:.3f}",
                f"{cell['images'] / time.median:.0f}",
                f"{moved / 1e9:.0f}" if moved else "",
                f"{flops / 1e12:.1f}",
                f"{share:.0%}" if share else "",
                "" if peak is None else f"{peak / 1e6:.0f}",
            ]
        )
    return rows


def _ours(cell: Cell) -> str | None:
    """The first of the contenders, if it was timed."""
    return cell["ours"] if cell["ours"] in cell["times_s"] else None


def _ratios(cell: Cell) -> dict[str, Spread]:
    ours = _ours(cell)
    times = cell["times_s"]
    return {name: paired_ratio(times[ours], times[name]) for name in times if name != ours} if ours else {}


def _slower(cell: Cell) -> list[tuple[str, Spread]]:
    return [(name, ratio) for name, ratio in _ratios(cell).items() if ratio.p20 <= 1]


def _words(ratio: Spread) -> str:
    return f"{ratio.median:.2f} ({ratio.p20:.2f} to {ratio.p80:.2f})"


def draw(record: Record) -> Figure:
    """Left: our speed over that of the best other contender. Right: each kernel below the card's roof."""
    best = {}
    for cell in _compared(record):
        if ratios := _ratios(cell):
            name = min(ratios, key=lambda n: ratios[n].median)
            best[f"{cell['name']}\nbeside {name}"] = ratios[name]
    figure = Figure(figsize=(13, 2.5 + 0.42 * max(8, len(best))), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    _bars(left, best)
    if ceiling := _ceiling(record):
        _roofline(right, _compared(record), ceiling)
    figure.suptitle("dry run: no measurement" if record["dry"] else record["about"].get("GPU", ""), color=INK)
    return figure


def _bars(panel: Axes, best: dict[str, Spread]) -> None:
    for row, ratio in enumerate(reversed(best.values())):
        panel.barh(row, ratio.median, height=0.62, color=OURS if ratio.median > 1 else THEIRS)
        whiskers = [[ratio.median - ratio.p20], [ratio.p80 - ratio.median]]
        panel.errorbar(ratio.median, row, xerr=whiskers, color=INK, linewidth=1, capsize=2.5)
        panel.text(ratio.p80, row, f"  {ratio.median:.2f}", va="center", fontsize=8, color=INK)
    panel.axvline(1, color=INK, linewidth=0.8)
    panel.set_yticks(range(len(best)), list(reversed(best)), fontsize=7, color=INK)
    panel.set_xlabel("times as fast as the best other contender", color=INK)
    panel.spines[["top", "right"]].set_visible(False)


def _roofline(panel: Axes, cells: list[Cell], ceiling: dict[str, float]) -> None:
    ridge = ceiling["flops_per_s"] / ceiling["bytes_per_s"]
    ends = [ridge / 100, ridge, ridge * 10]
    panel.plot(ends, [min(ceiling["flops_per_s"], x * ceiling["bytes_per_s"]) for x in ends], color=INK, linewidth=1.2)
    for cell in cells:
        if not cell["bytes"]:
            continue
        for name, times in cell["times_s"].items():
            colour = OURS if name == cell["ours"] else THEIRS
            panel.scatter(cell["flops"] / cell["bytes"], cell["flops"] / spread(times).median, s=18, color=colour)
    panel.set(xscale="log", yscale="log", xlabel="FLOP per byte, at the least bytes", ylabel="FLOP/s")
    panel.grid(True, which="both", color=GRID, linewidth=0.6)
    panel.set_title("kernels: ours dark, others light; the line is what the card can do", fontsize=9, color=INK)
    panel.spines[["top", "right"]].set_visible(False)


def main(arguments: list[str]) -> None:
    """Write the page and the picture beside a JSON file."""
    path = Path(arguments[0])
    write(path.with_suffix(""), json.loads(path.read_text()))


if __name__ == "__main__":
    matplotlib.use("Agg")
    main(sys.argv[1:])

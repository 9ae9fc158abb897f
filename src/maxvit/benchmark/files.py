"""A record on disk: PREFIX.json, PREFIX.md and the chart PREFIX.png, each in one step."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from maxvit.benchmark.page import name_of, page
from maxvit.benchmark.record import Case, Record
from maxvit.errors import MaxViTError
from maxvit.storage import check_folder, write_atomically, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, THEIRS, INK = "#0b6e4f", "#b9c0c7", "#2b2f33"
BAR_INCHES = 0.34


def check_prefix(prefix: Path) -> None:
    """Refuse before a long run what could not be written after it. Raises `MaxViTError`."""
    if prefix.is_dir() or not prefix.name:
        raise MaxViTError(f"{prefix} is a folder; give the start of a file's name, such as {prefix / 'speed'}")
    check_folder(prefix.parent)
    if find_spec("matplotlib") is None:
        raise MaxViTError("the chart needs matplotlib: pip install matplotlib")


def write_record(record: Record, prefix: Path) -> list[Path]:
    """Write the numbers, the page and the chart; files that are there are replaced.

    Returns:
        The three paths.

    Raises:
        MaxViTError: If a file cannot be written.
    """
    numbers, text, picture = (prefix.with_name(f"{prefix.name}.{ending}") for ending in ("json", "md", "png"))
    write_text(numbers, json.dumps(record.to_dict(), indent=1) + "\n")
    write_atomically(picture, lambda path: chart(record).savefig(path, format="png", dpi=130))
    write_text(text, page(record, picture))
    return [numbers, text, picture]


def chart(record: Record) -> "Figure":
    """Images per second of every contender, a panel a case; cases without numbers are left out.

    The fastest is at the top; whiskers are 20th and 80th percentile.
    """
    from matplotlib.figure import Figure

    cases = [case for case in record.cases if case.entries]
    heights = [BAR_INCHES * len(case.entries) + 0.75 for case in cases] or [1.0]
    figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained", facecolor="white")
    panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, case in zip(panels, cases, strict=False):
        _draw(panel, case)
    if not cases:
        panels[0].set_axis_off()
    machine = record.about["GPU"] if "GPU" in record.about else record.about["CPU"]
    figure.supxlabel(f"images per second; {machine}", fontsize=9, color=INK)
    return figure


def _draw(panel: "Axes", case: Case) -> None:
    entries = sorted(case.entries, key=lambda entry: entry.images_per_s)
    slowest_to_fastest = [
        (1e3 * case.batch / e.time_ms.p80, e.images_per_s, 1e3 * case.batch / e.time_ms.p20) for e in entries
    ]
    most = max(high for _, _, high in slowest_to_fastest)
    for row, (entry, (low, middle, high)) in enumerate(zip(entries, slowest_to_fastest, strict=True)):
        panel.barh(row, middle, height=0.68, color=OURS if entry.ours else THEIRS)
        panel.errorbar(middle, row, xerr=[[middle - low], [high - middle]], color=INK, linewidth=1, capsize=2.5)
        panel.text(high + most * 0.015, row, f"{middle:.3g}", va="center", fontsize=9, color=INK)
    panel.set_yticks(range(len(entries)), [name_of(entry) for entry in entries], fontsize=9, color=INK)
    for tick, entry in zip(panel.get_yticklabels(), entries, strict=True):
        tick.set_fontweight("bold" if entry.ours else "normal")
    panel.set_xlim(0, most * 1.1)
    panel.set_ylim(-0.6, len(entries) - 0.4)
    panel.set_title(f"{case.title[0].upper()}{case.title[1:]}", loc="left", fontsize=10.5, color=INK)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelsize=8, colors=INK)
    panel.grid(True, axis="x", color="#e8eaec", linewidth=0.7)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color("#c9ced3")

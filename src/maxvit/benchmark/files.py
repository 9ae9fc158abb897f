"""A record on disk: PREFIX.json, PREFIX.md and PREFIX.png, each in one step."""

import json
from importlib.util import find_spec
from pathlib import Path

from maxvit.benchmark.chart import chart
from maxvit.benchmark.page import page
from maxvit.benchmark.record import Record
from maxvit.errors import MaxViTError
from maxvit.storage import check_folder, write_atomically, write_text


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

"""Sizes as they are typed; tables as they are printed, as wide as their content, so that nothing is cut in a pipe."""

import re
from collections.abc import Sequence
from math import isnan

import typer

from maxvit.config import Size
from maxvit.errors import MaxViTError

NOTHING = "-"  # in place of a number that there is not, such as the precision of a class that no image has


def read_size(text: str) -> Size:
    """224 is (224, 224), and 224x320 is 224 high and 320 wide. Raises `MaxViTError` for what is neither."""
    if not (found := re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)):
        raise MaxViTError(f"size {text!r} cannot be read: write pixels a side, 224, or HEIGHTxWIDTH, 224x320")
    return int(found[1]), int(found[2] or found[1])


def read_batch(text: str) -> int | None:
    """A number of images; "auto" is None, the recipe's, of which as many are computed at once as memory takes.

    Raises:
        MaxViTError: For what is neither.
    """
    if text != "auto" and not re.fullmatch(r"[0-9]{1,6}", text):
        raise MaxViTError(f"the batch is {text!r}; it takes a number of images, or auto")
    return None if text == "auto" else int(text)


def read_folds(text: str) -> int | str:
    """A number of folds, or the name of a column. Raises `MaxViTError` for a number below 2."""
    if not text.isdecimal():
        return text
    if int(text) < 2:
        raise MaxViTError(f"--folds is {text}: it takes at least 2, or the column of a list that names the folds")
    return int(text)


def read_minutes(text: str) -> float:
    """A duration such as 90s, 20m, 1h or 1h30m, in minutes; a bare number is minutes. Raises `MaxViTError`."""
    number = r"([0-9]+(?:\.[0-9]+)?)"
    words = f"{text.strip()}m" if re.fullmatch(number, text.strip()) else text.strip()
    found = re.fullmatch(f"(?:{number}h)?(?:{number}m)?(?:{number}s)?", words)
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    total = 60 * hours + minutes + seconds / 60
    if not total:
        raise MaxViTError(f"the time is {text!r}; it takes a duration such as 90s, 20m or 1h30m")
    return total


def as_text(value: float | None, form: str) -> str:
    """A number in a form such as ".1%"; `NOTHING` in place of none, or of NaN."""
    return NOTHING if value is None or isnan(value) else f"{value:{form}}"


def say_left_out(number: int) -> str:
    """That so many images, at least one, could not be read."""
    return f"{number} of the images could not be read and {'was' if number == 1 else 'were'} left out"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns of numbers to the right, of words to the left; the first column is always to the left."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    right = [i > 0 and all(row[i][:1].isdigit() or row[i] in ("", NOTHING) for row in rows) for i in range(len(header))]
    for row in [header, ["-" * w for w in widths], *rows]:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        typer.echo("  ".join(cells).rstrip())

"""Tables on standard output: aligned for people, and as wide as their content, so that nothing is cut in a pipe."""

from collections.abc import Sequence
from math import isnan

import typer

NOTHING = "-"  # in place of a number that there is not, such as the precision of a class that no image has


def as_text(value: float, form: str) -> str:
    """A number in a form such as ".1%"; `NOTHING` in place of NaN."""
    return NOTHING if isnan(value) else f"{value:{form}}"


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

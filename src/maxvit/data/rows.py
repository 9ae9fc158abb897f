"""A list as columns of text, whatever file it is: CSV with commas, semicolons or tabs, or Parquet."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from maxvit.data.finding import normal
from maxvit.errors import MaxViTError, require

KINDS = (".csv", ".tsv", ".parquet")
_SEPARATORS = ",;\t"


@dataclass(frozen=True, slots=True)
class Rows:
    """A table of text.

    Attributes:
        file: Where it is.
        columns: The cells of each column by its name, without blanks around them.
        places: What to call each row in messages.
        separator: What stands between two cells; nothing in Parquet.
    """

    file: Path
    columns: Mapping[str, Sequence[str]]
    places: Sequence[str]
    separator: str = ""

    def __len__(self) -> int:
        return len(self.places)

    def wrong(self, i: int, sentence: str) -> MaxViTError:
        """What to raise of a row."""
        return MaxViTError(f"{self.places[i]} of {self.file}: {sentence}")

    def number(self, cell: str) -> float | None:
        """The number in a cell, finite, with a decimal comma where semicolons are between cells; None: it is none."""
        try:
            value = float(cell.replace(",", ".") if self.separator == ";" else cell)
        except ValueError:
            return None
        return value if isfinite(value) else None

    def say_columns(self) -> str:
        """The names of the first columns, in words."""
        return name_columns(list(self.columns))


def name_columns(names: Sequence[str]) -> str:
    """A few names of columns, in words."""
    return ", ".join(repr(name) for name in names[:12]) + ", ..." * (len(names) > 12)


def read_rows(file: Path, wanted: str) -> Rows:
    """Read a list.

    Args:
        file: .csv or .tsv (UTF-8; the first line names the columns, and has the separator), or .parquet.
        wanted: What the columns of a list are, for messages.

    Raises:
        MaxViTError: If it is missing, empty or unreadable, or has two columns of one name.
    """
    if not file.is_file():
        raise MaxViTError(f"{file} {'is a folder' if file.exists() else 'does not exist'}: give a list of images")
    if file.suffix.lower() not in KINDS:
        raise MaxViTError(f"{file} ends in {file.suffix!r}, and a list ends in one of {', '.join(KINDS)}: rename it")
    rows = _read_parquet(file) if file.suffix.lower() == ".parquet" else _read_text(file)
    if not len(rows):
        raise MaxViTError(f"{file} is an empty list: {wanted}")
    return rows


def _read_text(file: Path) -> Rows:
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            first = handle.readline()
            told = re.fullmatch(r"sep=(.)\s*", first)  # a line for Excel, which does not show it
            separator = told[1] if told else find_separator(first, "\t" if file.suffix.lower() == ".tsv" else ",")
            handle.seek(0)
            reader = csv.reader(handle, delimiter=separator, strict=True)
            if told:
                next(reader)
            header = next(reader, [])
            cells: list[list[str]] = [[] for _ in header]
            places: list[str] = []
            for row in reader:
                if not row:  # a blank line
                    continue
                if len(row) != len(header):
                    raise MaxViTError(
                        f"line {reader.line_num} of {file} has {len(row)} cells, and the first line {len(header)}: "
                        "put cells that hold the separator into quotes"
                    )
                places.append(f"line {reader.line_num}")
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell.strip())
    except UnicodeDecodeError as error:
        raise MaxViTError(f"{file} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise MaxViTError(f"line {reader.line_num} of {file} cannot be read: {error}") from error
    except OSError as error:
        raise MaxViTError(f"{file} cannot be read: {error.strerror}") from error
    return Rows(file, _unique(header, cells, file), places, separator)


def find_separator(header: str, usual: str) -> str:
    """The one by which a first line has the most cells; the usual one, where another does not give more."""
    cells = {sign: len(next(csv.reader([header], delimiter=sign), [])) for sign in _SEPARATORS}
    best = max(_SEPARATORS, key=lambda sign: cells[sign])
    return best if cells[best] > cells[usual] else usual


def _read_parquet(file: Path) -> Rows:
    require(f"{file}, a Parquet file,", "pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise MaxViTError(f"{file} is not a Parquet file that can be read: {str(error).splitlines()[0]}") from error
    cells = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return Rows(file, _unique(table.column_names, cells, file), [f"row {i}" for i in range(1, table.num_rows + 1)])


def _text(value: object) -> str:
    """A cell as a CSV file would hold it."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # integers with gaps become floats in many programs
    return str(value).strip()


def _unique(names: Sequence[str], cells: Sequence[list[str]], file: Path) -> dict[str, list[str]]:
    names = [normal(name.strip()) for name in names]
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise MaxViTError(f"{file} has two columns {twice[0]!r}: remove or rename one")
    return dict(zip(names, cells, strict=True))

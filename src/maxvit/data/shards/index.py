"""Where each image is in the shards of a data set: index.json, and next to it a table of numbers for each split."""

import io
import json
import zipfile
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from maxvit.data.dataset import Lazy
from maxvit.errors import MaxViTError

FORMAT, VERSION = "maxvit-shards", 1
FILE = "index.json"
SPLITS = ("train", "val", "test")
REMAKE = f"delete {FILE} to have it made again from the tar files"


class Shard(NamedTuple):
    """One tar file."""

    name: str
    samples: int
    bytes: int


class Names(Lazy[str]):
    """Strings in one block of memory, which worker processes share; of a million `str` each would get copies."""

    def __init__(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends

    def __len__(self) -> int:
        return len(self.ends)

    def item(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return self.text[start : self.ends[index]].tobytes().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The images of one split, in order: of each its shard, where its bytes are there, its label and its name."""

    shards: list[Shard]
    shard: npt.NDArray[np.int64]  # (n,), as all below
    offset: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    names: Names


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A data set in shards. Without `class_names` the labels are numbers that nobody has named."""

    class_names: list[str] | None
    tables: dict[str, Table]


class Rows:
    """A table that grows."""

    def __init__(self) -> None:
        self.shards: list[Shard] = []
        self.columns = {name: array("q") for name in ("shard", "offset", "size", "label", "ends")}
        self.text = bytearray()

    def __len__(self) -> int:
        return len(self.columns["shard"])

    def add(self, offset: int, size: int, label: int, name: str) -> None:
        """An image of the shard that is being filled."""
        self.text += name.encode("utf-8", "replace")
        row = {"shard": len(self.shards), "offset": offset, "size": size, "label": label, "ends": len(self.text)}
        for column, value in row.items():
            self.columns[column].append(value)

    def end_shard(self, name: str, size: int) -> None:
        """The shard is full and has this name."""
        before = sum(shard.samples for shard in self.shards)
        self.shards.append(Shard(name, len(self) - before, size))

    def table(self) -> Table:
        """All that was added."""
        numbers = {name: np.array(values, dtype=np.int64) for name, values in self.columns.items()}
        names = Names(np.array(self.text, dtype=np.uint8), numbers.pop("ends"))
        return Table(self.shards, **numbers, names=names)


def write_index(index: Index, write: Callable[[str, bytes], object]) -> None:
    """Write the tables and then index.json, by `write(name, content)`."""
    splits = {}
    for split, table in index.tables.items():
        splits[split] = {"index": f"{split}.npz", "shards": [shard._asdict() for shard in table.shards]}
        content = io.BytesIO()
        numbers = {"shard": table.shard, "offset": table.offset, "size": table.size, "label": table.label}
        np.savez(content, **numbers, text=table.names.text, ends=table.names.ends)
        write(f"{split}.npz", content.getvalue())
    head = {"format": FORMAT, "version": VERSION, "class_names": index.class_names, "splits": splits}
    write(FILE, json.dumps(head, indent=1).encode())


def is_table(content: bytes) -> bool:
    """Whether a file SPLIT.npz is one of `write_index`'s, and not another program's."""
    try:
        with np.load(io.BytesIO(content)) as arrays:
            return set(arrays.files) == {"shard", "offset", "size", "label", "text", "ends"}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile):
        return False


def is_index(file: Path) -> bool:
    """Whether a file is an index of ours, even a damaged one, and not another program's index.json."""
    try:
        head = json.loads(file.read_bytes())
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True
    return isinstance(head, dict) and "splits" in head


def read_index(read: Callable[[str], bytes | None], place: str) -> Index | None:
    """Read what `write_index` wrote, by `read(name)`; None where there is no index.json.

    Raises:
        MaxViTError: If a file is damaged or missing, or they do not belong together.
    """
    content = read(FILE)
    if content is None:
        return None
    where = f"{place}/{FILE}"
    try:
        head = json.loads(content)
        if head["format"] != FORMAT:
            raise MaxViTError(f"{where} is an index of {str(head['format'])[:40]!r}, not of {FORMAT!r}: {REMAKE}")
        if head["version"] != VERSION:
            raise MaxViTError(
                f"{where} has version {str(head['version'])[:40]}, and this maxvit reads {VERSION}: update maxvit, or "
                f"{REMAKE}"
            )
        class_names = _read_class_names(head["class_names"])
        splits = {
            split: (str(part["index"]), [_read_shard(shard) for shard in part["shards"]])
            for split, part in head["splits"].items()
            if split in SPLITS
        }
    except MaxViTError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MaxViTError(f"{where} is damaged ({type(error).__name__}: {error}): {REMAKE}") from error
    tables = {}
    for split, (file, shards) in splits.items():
        if (content := read(file)) is None:
            raise MaxViTError(f"{place}/{file} is missing, and {FILE} names it: {REMAKE}")
        tables[split] = _read_table(content, shards, f"{place}/{file}")
        _check_labels(tables[split], class_names, f"{place}/{file}")
    return Index(class_names, tables)


def _read_class_names(value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(name, str) for name in value):
        raise TypeError("class_names must be a list of names")
    return value


def _read_shard(value: dict[str, Any]) -> Shard:
    name, samples, size = value["name"], value["samples"], value["bytes"]
    plain = isinstance(name, str) and isinstance(samples, int) and isinstance(size, int)
    if not plain or "/" in name or name in ("", ".", ".."):  # an index must not lead out of its folder
        raise TypeError(f"{str(value)[:80]} is not a shard")
    return Shard(name, samples, size)


def _read_table(content: bytes, shards: list[Shard], where: str) -> Table:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            columns = {name: file[name] for name in ("shard", "offset", "size", "label", "ends")}
            text = file["text"]
    except (ValueError, KeyError, TypeError, OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise MaxViTError(f"{where} is damaged ({type(error).__name__}: {error}): {REMAKE}") from error
    count = sum(shard.samples for shard in shards)
    ends = columns["ends"]
    fits = (
        all(column.dtype == np.int64 and column.shape == (count,) for column in columns.values())
        and text.dtype == np.uint8
        and text.ndim == 1
        and bool((np.diff(ends, prepend=0) >= 0).all())
        and (ends[-1] if count else 0) == len(text)
    )
    if not fits:
        raise MaxViTError(f"{where} does not hold the {count} images that {FILE} says: {REMAKE}")
    names = Names(text, columns.pop("ends"))
    table = Table(shards, **columns, names=names)
    _check_places(table, where)
    return table


def _check_places(table: Table, where: str) -> None:
    """Every image is in a shard that exists, and inside it."""
    samples, sizes = ([getattr(shard, what) for shard in table.shards] for what in ("samples", "bytes"))
    known = (table.shard >= 0) & (table.shard < len(table.shards))
    if not known.all() or np.bincount(table.shard, minlength=len(samples)).tolist() != samples:
        raise MaxViTError(f"{where} puts other numbers of images into the shards than {FILE} says: {REMAKE}")
    ends = np.array(sizes, dtype=np.int64)[table.shard] if samples else table.offset
    outside = (table.offset < 0) | (table.size <= 0) | (table.offset > ends) | (table.size > ends - table.offset)
    if outside.any():
        i = int(np.flatnonzero(outside)[0])
        shard = table.shards[table.shard[i]].name
        raise MaxViTError(
            f"{where} says that {table.names[i]} has {table.size[i]} bytes from {table.offset[i]} on in {shard}, which "
            f"has {ends[i]}: {REMAKE}"
        )


def _check_labels(table: Table, class_names: list[str] | None, where: str) -> None:
    wrong = (table.label < 0) | (class_names is not None and table.label >= len(class_names or []))
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise MaxViTError(f"{where} gives {table.names[i]} the label {table.label[i]}, which is not a class: {REMAKE}")

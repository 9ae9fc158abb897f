"""Which images a run learns from and is chosen by: a fingerprint, and a record that says what has changed.

Both cover names, order, and labels or annotations, and no pixels: a picture that is exchanged for another of the same
name is not noticed, nor a mask. An image has the name that it has within its data set, so data may be moved.
"""

import csv
import gzip
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from maxvit import storage
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.errors import MaxViTError

_PLAIN = (bool, int, float, str)
_NAMED = 3  # images of each change


class _Row(NamedTuple):
    part: str
    name: str
    label: str


def fingerprint(images: LabelledImages) -> str:
    """The fingerprint of one part: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for _, name, label in _rows("", images):
        digest.update(f"{name}\0{label}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def write_record(path: Path, data: Splits) -> None:
    """Write what the training and validation images are: a table of part, name and label, compressed.

    Raises:
        MaxViTError: If it cannot be written.
    """
    storage.write_atomically(path, lambda temporary: _write(temporary, data))


def _write(path: Path, data: Splits) -> None:
    with gzip.open(path, "wt", 1, encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows([_Row._fields, *_both(data)])


def find_changes(path: Path, data: Splits) -> str:
    """What is no longer as `write_record` found it, in words, with the first few images; nothing, if nothing is.

    Raises:
        MaxViTError: If the record is damaged.
    """
    try:
        if all(old == new for old, new in zip_longest(_recorded(path), _both(data))):
            return ""
        return _compare(list(_recorded(path)), list(_both(data)))
    except (OSError, EOFError, TypeError, ValueError, csv.Error) as error:
        raise MaxViTError(f"{path} is damaged: copy it again") from error


def _recorded(path: Path) -> Iterator[_Row]:
    with gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="") as file:
        yield from (_Row(*row) for row in islice(csv.reader(file), 1, None))


def _compare(old: Sequence[_Row], new: Sequence[_Row]) -> str:
    before, now = _by_name(old), _by_name(new)
    names = list(dict.fromkeys([*before, *now]))
    number = {name: len(now.get(name, ())) - len(before.get(name, ())) for name in names}
    kept = [name for name in names if number[name] == 0]
    labels = [name for name in kept if [r.label for r in before[name]] != [r.label for r in now[name]]]
    moved = [name for name in kept if [r.part for r in before[name]] != [r.part for r in now[name]]]
    changes = [
        _say("gone", [name for name in names if number[name] < 0]),
        _say("new", [name for name in names if number[name] > 0]),
        _say("labelled otherwise", labels),
        _say("in the other part, training or validation", moved),
    ]
    return "; ".join(filter(None, changes)) or "the images are in another order"


def _by_name(rows: Iterable[_Row]) -> dict[str, list[_Row]]:
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(row.name, []).append(row)
    return found


def _say(what: str, names: Sequence[str]) -> str:
    few = ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
    return f"{len(names):,} {'is' if len(names) == 1 else 'are'} {what} ({few})" if names else ""


def _both(data: Splits) -> Iterator[_Row]:
    yield from _rows("train", data.train)
    yield from _rows("val", data.val)


def _rows(part: str, images: LabelledImages) -> Iterator[_Row]:
    for name, label in zip(images.names, _labels(images), strict=True):
        yield _Row(part, name, label)


def _labels(images: LabelledImages) -> Iterator[str]:
    """A class by its name, any other label by its digest."""
    for label in images.labels:
        if isinstance(label, int):  # a class, or a number of something
            yield images.class_names[label] if label < len(images.class_names) else str(label)
            continue
        text = io.BytesIO()
        _put(text, label)
        yield hashlib.blake2b(text.getvalue(), digest_size=8).hexdigest()


def _put(text: io.BytesIO, value: Any) -> None:
    """What an annotation says, the same in every process and version; of a path its last part."""
    if is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, field.name) for field in fields(value) if field.compare]
    if type(value).__repr__ is object.__repr__:  # type: ignore[comparison-overlap]  # it names an address in memory
        value = getattr(value, "__dict__", type(value).__name__)
    if isinstance(value, Path):
        value = value.name
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list | tuple) and not all(type(item) in _PLAIN for item in value):
        text.write(b"[")
        for item in value:
            _put(text, item)
        text.write(b"]")
    elif hasattr(value, "__array__"):  # arrays, tensors and their numbers
        array = np.asarray(value)
        text.write(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    else:
        value = list(value) if isinstance(value, tuple) else value
        text.write(f"{value!r}\0".encode("utf-8", "surrogateescape"))

"""Answers as a table, and tables as a file: Parquet, CSV or JSON Lines. The parts of a file are Parquet."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from maxvit.data.inputs import Gathered
from maxvit.errors import MaxViTError

ROWS = 32_768  # of a row group in Parquet
_ERRORS = b"errors"
ERROR_COLUMNS = pa.schema({"path": pa.string(), "reason": pa.string()})


@dataclass
class Answers:
    """What was found out about the images of a part, in lumps as they come."""

    part: range
    indices: list[Tensor] = field(default_factory=list)
    probabilities: list[Tensor] = field(default_factory=list)
    classes: list[Tensor] = field(default_factory=list)
    answered: list[list[int]] = field(default_factory=list)  # of a multi-label network, an item an image
    embeddings: list[Tensor] = field(default_factory=list)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Images that are answered, or cannot be."""
        return sum(map(len, self.indices)) + len(self.errors)


def schema(class_columns: int, labelled: bool, channels: int | None, multi_label: bool = False) -> pa.Schema:
    """The columns: path, label where it is known, class_1 and probability_1 and so on, embedding where it is wanted.

    A multi-label network's answer is a column of its own: all classes that reach the threshold, joined by |.
    """
    columns = {"path": pa.string(), **({"label": pa.string()} if labelled else {})}
    columns |= {"answer": pa.string()} if multi_label else {}
    for i in range(1, class_columns + 1):
        columns |= {f"class_{i}": pa.string(), f"probability_{i}": pa.float32()}
    return pa.schema(columns | ({} if channels is None else {"embedding": pa.list_(pa.float32(), channels)}))


def as_table(answers: Answers, columns: pa.Schema, images: Gathered, class_names: Sequence[str]) -> pa.Table:
    """A row for each image that could be read, in the order of the images; the others are in the table's metadata."""
    errors = [(as_utf8(images.names[i]), as_utf8(sentence)) for i, sentence in sorted(answers.errors.items())]
    columns = columns.with_metadata({_ERRORS: json.dumps(errors).encode()})
    if not answers.indices:
        return columns.empty_table()
    indices = torch.cat(answers.indices)
    order = indices.argsort()
    places = indices[order].tolist()
    values: dict[str, Any] = {"path": [as_utf8(images.names[i]) for i in places]}
    if images.labels is not None:
        values["label"] = [as_utf8(images.labels[i]) for i in places]
    names = np.array([as_utf8(name) for name in class_names], dtype=object)
    classes, probabilities = (torch.cat(lumps)[order].numpy() for lumps in (answers.classes, answers.probabilities))
    if answers.answered:
        values["answer"] = ["|".join(names[answers.answered[i]]) for i in order.tolist()]
    for k in range(classes.shape[1]):
        values[f"class_{k + 1}"], values[f"probability_{k + 1}"] = names[classes[:, k]], probabilities[:, k].copy()
    if answers.embeddings:
        embeddings = torch.cat(answers.embeddings)[order]
        flat = pa.array(embeddings.flatten().numpy())
        values["embedding"] = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    return pa.table(values, schema=columns)


def as_utf8(text: str) -> str:
    """A file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 file can hold: bytes as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def write_part(table: pa.Table, path: Path) -> None:
    """Write a part."""
    pq.write_table(table, path)


def join(parts: list[Path], columns: pa.Schema, file: Path, kind: str, errors: Path) -> None:
    """Write all rows of all parts into one file, a part in memory at a time, and what could not be read into another.

    Args:
        parts: In order.
        columns: What `schema` gave; its metadata travels with Parquet.
        file: Where the rows go.
        kind: .parquet, .csv or .jsonl.
        errors: CSV: path and reason of each image that could not be read.

    Raises:
        MaxViTError: If a part is damaged.
    """
    with closing(_WRITERS[kind](file, columns)) as rows, closing(_csv(errors, ERROR_COLUMNS)) as failures:
        for table in _read(parts):
            failed = json.loads(table.schema.metadata[_ERRORS])
            failures.write_table(pa.table([list(c) for c in zip(*failed, strict=True)] or [[], []], ERROR_COLUMNS))
            rows.write_table(table.cast(columns))


def _read(parts: list[Path]) -> Iterator[pa.Table]:
    for path in parts:
        try:
            yield pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise MaxViTError(f"{path} is damaged ({reason}): remove it, and call the same again") from error


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class _Parquet:
    """Parts are small; row groups are large, as readers like them."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.file = pq.ParquetWriter(path, columns)
        self.held: list[pa.Table] = []

    def write_table(self, table: pa.Table) -> None:
        self.held.append(table)
        if sum(map(len, self.held)) >= ROWS:
            self._flush()

    def close(self) -> None:
        if self.held:
            self._flush()
        self.file.close()

    def _flush(self) -> None:
        self.file.write_table(pa.concat_tables(self.held), ROWS)
        self.held = []


def _csv(path: Path, columns: pa.Schema) -> _Writer:
    return pyarrow.csv.CSVWriter(path, columns.remove_metadata())


class _JsonLines:
    """An object a row; the decimals of a number give the float32 back."""

    def __init__(self, path: Path, columns: pa.Schema) -> None:
        self.file = path.open("w", encoding="utf-8")

    def write_table(self, table: pa.Table) -> None:
        for row in table.to_pylist():
            plain = {name: _shortest(value) for name, value in row.items()}
            self.file.write(json.dumps(plain, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self.file.close()


def _shortest(value: Any) -> Any:
    if isinstance(value, list):
        return [_shortest(v) for v in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value


_WRITERS: dict[str, Callable[[Path, pa.Schema], _Writer]] = {".parquet": _Parquet, ".csv": _csv, ".jsonl": _JsonLines}

"""Predictions as a table, and tables as a file: the parts of a file are Parquet, whatever they become together."""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import torch
from torch import Tensor

from maxvit.config import Size
from maxvit.data.columns import name_beside
from maxvit.data.inputs import Gathered
from maxvit.errors import MaxViTError
from maxvit.storage import write_atomically
from maxvit.tasks.protocols import Predicted
from maxvit.tasks.task import TABLES, Task

ROWS = 32_768  # of a row group in Parquet
_ERRORS = b"errors"
_OURS = ("path", "label", "embedding")
ERROR_COLUMNS = pa.schema({"path": pa.string(), "reason": pa.string()})
Features = npt.NDArray[np.float32]


class Columns:
    """What is written of each image: its path, its label and more where a list says it, and what was predicted.

    A prediction is a row of the task; where it does not fit into one, or goes into a file of the task's own kind, the
    parts keep it as it is, and the size of its image.

    Args:
        task: What is predicted.
        class_names: Class names of the network.
        out: The file to make.
        labelled: There are labels.
        others: Other columns of a list, which are kept; with list_ before a name that is taken.
        prediction: Any.
        features: Features of the same image, (features,) float32; None: they are not wanted.

    Raises:
        MaxViTError: If the task does not write to `out`, or its predictions cannot be kept.
    """

    def __init__(
        self,
        task: Task,
        class_names: list[str],
        out: Path,
        labelled: bool,
        others: Sequence[str],
        prediction: Predicted,
        features: Features | None,
    ) -> None:
        self.task, self.class_names = task, [as_utf8(name) for name in class_names]
        self.kind, self.labelled = out.suffix, labelled
        self.as_rows = out.suffix in TABLES and task.row(prediction, self.class_names) is not None
        if not self.as_rows and out.suffix != ".jsonl":
            task.check_out(out)
        if features is not None and out.suffix not in (".parquet", ".jsonl"):
            raise MaxViTError(f"{out} has no room for embeddings: write .jsonl, or of rows .parquet")
        cells = self._predicted((1, 1), prediction)
        if clash := [name for name in _OURS if name in cells]:
            raise MaxViTError(f"a row of {task.name} has a column {clash[0]}, which is ours: give it another name")
        self._names, self.others = cells.keys(), name_beside(others, {*_OURS, *cells})
        known = {"path": pa.string(), **({"label": pa.string()} if labelled else {})}
        known |= {name: pa.string() for name in self.others.values()}
        known |= {name: _type(value) for name, value in cells.items()}
        known |= {} if features is None else {"embedding": pa.list_(pa.float32(), len(features))}
        self.schema = pa.schema(known)

    def cells(self, size: Size, prediction: Predicted, features: Features | None) -> dict[str, Any]:
        """What a row says of an image of `size`, without path and label."""
        cells = self._predicted(size, prediction)
        if cells.keys() != self._names:
            given = [", ".join(names) for names in (self._names, cells.keys())]
            raise MaxViTError(f"rows of {self.task.name} have the columns {given[0]}, and one has {given[1]}")
        return cells if features is None else {**cells, "embedding": features}

    def _predicted(self, size: Size, prediction: Predicted) -> dict[str, Any]:
        if not self.as_rows:
            return {"height": size[0], "width": size[1], "prediction": pack(prediction, self.task)}
        row = self.task.row(prediction, self.class_names) or {}
        return {name: as_utf8(cell) if isinstance(cell, str) else cell for name, cell in row.items()}

    def predictions(self, tables: Iterable[pa.Table]) -> Iterator[tuple[str, Size, Predicted]]:
        """What was kept: name of the image, its size, and the prediction."""
        for table in tables:
            for row in table.to_pylist():
                yield row["path"], (row["height"], row["width"]), unpack(row["prediction"])

    def objects(self, table: pa.Table) -> Iterator[dict[str, Any]]:
        """Each row as plain values; the decimals of a number give the float32 of a row back."""
        for row in table.to_pylist():
            if not self.as_rows:
                prediction, _, _ = unpack(row.pop("prediction")), row.pop("height"), row.pop("width")
                features = {"embedding": row.pop("embedding")} if "embedding" in row else {}
                row |= self.task.to_json(prediction, self.class_names) | _shortest(features)
            yield _shortest(row) if self.as_rows else row


def _type(value: Any) -> pa.DataType:
    kinds = {str: pa.string(), bytes: pa.large_binary(), bool: pa.bool_(), int: pa.int64()}
    return next((known for kind, known in kinds.items() if isinstance(value, kind)), pa.float32())


def pack(prediction: Predicted, task: Task) -> bytes:
    """A prediction as bytes. Raises `MaxViTError` if `unpack` could not read them."""
    file = io.BytesIO()
    try:
        torch.save(_alone(prediction), file)
        unpack(file.getvalue())
    except Exception as error:  # of many types, which pickles and PyTorch raise
        raise MaxViTError(
            f"a prediction of {task.name} cannot be kept in a file: make it of tensors, numbers, texts, lists and "
            "dictionaries"
        ) from error
    return file.getvalue()


def unpack(packed: bytes) -> Predicted:
    """What `pack` was given: tensors and plain values, no code."""
    return torch.load(io.BytesIO(packed), weights_only=True)


def _alone(value: Any) -> Any:
    """Tensors without the rest of the batch that they are pieces of."""
    if isinstance(value, dict):
        return {key: _alone(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_alone, value))
    return value.clone() if isinstance(value, Tensor) else value


@dataclass
class Part:
    """What was found out about the images of a part: the cells of each, or why it could not be read."""

    images: range
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """Images that are predicted, or cannot be."""
        return len(self.rows) + len(self.errors)

    def write(self, path: Path, columns: Columns, images: Gathered) -> None:
        """A row for each image that could be read, in the order of the images; others are in the file's metadata."""
        errors = [(as_utf8(images.names[i]), as_utf8(sentence)) for i, sentence in sorted(self.errors.items())]
        order = sorted(self.rows)
        values = {"path": [as_utf8(images.names[i]) for i in order]}
        if columns.labelled and images.labels is not None:
            values["label"] = [as_utf8(images.labels[i]) for i in order]
        for name, new in columns.others.items():
            values[new] = [as_utf8(images.others[name][i]) for i in order]
        for name in columns.schema.names[len(values) :]:
            values[name] = [self.rows[i][name] for i in order]
        table = pa.table(values, schema=columns.schema)
        pq.write_table(table.replace_schema_metadata({_ERRORS: json.dumps(errors).encode()}), path)


def as_utf8(text: str) -> str:
    """A file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 file can hold: bytes as \\xff."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def join(parts: list[Path], columns: Columns, out: Path, errors: Path) -> None:
    """Write what all parts hold, a part in memory at a time, and what could not be read into another file.

    Args:
        parts: In order.
        columns: Columns of all of them.
        out: A name like that of the file to make.
        errors: CSV: path and reason of each image that could not be read.

    Raises:
        MaxViTError: If a part is damaged.
    """

    def write(path: Path) -> None:
        with closing(_csv(path, ERROR_COLUMNS)) as failures:
            tables = _read(parts, columns, failures)
            _write(tables, columns, out)
            for _ in tables:
                pass  # of a task that has not looked at all of them

    write_atomically(errors, write)


def _write(tables: Iterable[pa.Table], columns: Columns, out: Path) -> None:
    if not columns.as_rows and columns.kind != ".jsonl":
        columns.task.write(columns.predictions(tables), out, columns.class_names)
        return

    def write(path: Path) -> None:
        with closing(_WRITERS[columns.kind](path, columns)) as rows:
            for table in tables:
                rows.write_table(table)

    write_atomically(out, write)


def _read(parts: list[Path], columns: Columns, failures: "_Writer") -> Iterator[pa.Table]:
    """The rows of each part; its failures are written on the way."""
    for path in parts:
        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise MaxViTError(f"{path} is damaged ({reason}): remove it, and call the same again") from error
        failed = json.loads(table.schema.metadata[_ERRORS])
        failures.write_table(pa.table([list(c) for c in zip(*failed, strict=True)] or [[], []], ERROR_COLUMNS))
        yield table.cast(columns.schema)


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


class _Parquet:
    """Parts are small; row groups are large, as readers like them."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.file = pq.ParquetWriter(path, columns.schema)
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


def _csv(path: Path, schema: pa.Schema) -> _Writer:
    return pyarrow.csv.CSVWriter(path, schema)


class _JsonLines:
    """An object an image."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.file, self.columns = path.open("w", encoding="utf-8"), columns

    def write_table(self, table: pa.Table) -> None:
        for row in self.columns.objects(table):
            self.file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self.file.close()


def _shortest(value: Any) -> Any:
    """The same values, each float with the fewest decimals that give its float32 back."""
    if isinstance(value, dict):
        return {name: _shortest(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_shortest(v) for v in value]
    return float(str(np.float32(value))) if isinstance(value, float) else value


_WRITERS: dict[str, Callable[[Path, Columns], _Writer]] = {
    ".parquet": _Parquet,
    ".csv": lambda path, columns: _csv(path, columns.schema),
    ".jsonl": _JsonLines,
}

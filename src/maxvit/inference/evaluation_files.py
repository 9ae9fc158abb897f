"""An evaluation as files: its metrics as JSON, and every prediction as CSV or in the format of the task."""

import csv
import io
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from maxvit.data.columns import name_beside
from maxvit.data.dataset import LabelledImages
from maxvit.inference.evaluate import TOGETHER, EvaluationResult
from maxvit.storage import write_text
from maxvit.tasks.protocols import Cell

Results = Mapping[str, EvaluationResult]  # by size, as `evaluate_sizes` gives them
_PACKAGES = ("maxvit", "torch", "torchvision", "numpy", "pillow", "onnxruntime")


def headline(results: Results) -> str:
    """The size whose metrics are told first: all together, where there is such a prediction; else the first."""
    return TOGETHER if TOGETHER in results else next(iter(results))


def as_dict(results: Results, images: LabelledImages, engine: str, tta: str) -> dict[str, Any]:
    """An evaluation as plain values, for JSON; what is not a number is null.

    Args:
        results: What `evaluate_sizes` gives.
        images: What they were measured on.
        engine: What computed.
        tta: As for `evaluate`.

    Returns:
        task: Its name.
        part: Part of the data set.
        images: How many counted.
        skipped: How many could not be read.
        engine, tta: As given.
        size: What the metrics are of: see `headline`.
        metrics: By name.
        intervals_95: 95 % confidence intervals, [low, high], of some of the metrics.
        classes: A row for each class.
        sizes: "size", "metrics" and "intervals_95" of each size.
    """
    result = results[headline(results)]
    known: dict[str, Any] = _plain({
        "task": result.task.name,
        "part": images.part,
        "images": result.images,
        "skipped": len(result.skipped),
        "engine": engine,
        "tta": tta,
        "size": headline(results),
        **_measured(result),
        "classes": result.rows,
        "sizes": [{"size": size, **_measured(one)} for size, one in results.items() if size != TOGETHER],
    })  # fmt: skip
    return known


def _measured(result: EvaluationResult) -> dict[str, Any]:
    return {"metrics": result.metrics, "intervals_95": result.intervals}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def versions() -> dict[str, str]:
    """Versions of Python and of every package that can change a prediction, where it is installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_evaluation(
    folder: Path, results: Results, images: LabelledImages, known: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[Path]:
    """Write an evaluation into a folder; each file replaces an earlier one in one step.

    `evaluation.json` holds `as_dict`, the settings, the versions of what computed and the date. `evaluation.csv` has a
    row for each metric, at each size and together: size, metric, value, and the ends of the 95 % interval, low and
    high. `predictions.csv` is there where a prediction fits into a row. It has one for each image that could be read,
    at each size and together: image, size, what `Task.evaluated_row` says, and the other columns of a list; decimals
    give the float32 back. The task's own file is there where the task has one and all predictions were kept, and has
    those of `headline`.

    Args:
        folder: Made if it is not there.
        results: What `evaluate_sizes` gives.
        images: What they were measured on.
        known: What `as_dict` gives.
        settings: What was asked for, as plain values.

    Returns:
        The files.

    Raises:
        MaxViTError: If a file cannot be written.
    """
    made = [folder / "evaluation.json", folder / "evaluation.csv"]
    write_table(made[-1], _measured_rows(known, results))
    rows = _rows(results, images)
    if (first := next(rows, None)) is not None:
        made.append(folder / "predictions.csv")
        write_table(made[-1], chain([first], rows))
    result = results[headline(results)]
    if result.task.evaluated_file and len(result.samples) == result.images:
        made.append(folder / result.task.evaluated_file)
        predictions = ((images.names[s.index], images.labels[s.index], s.prediction) for s in result.samples)
        result.task.write_evaluated(predictions, made[-1], result.class_names)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    record = {**known, "settings": dict(settings), "versions": versions(), "date": date}
    write_text(made[0], _utf8(json.dumps(record, indent=2, ensure_ascii=False) + "\n"))
    return made


def write_table(path: Path, rows: Iterable[Mapping[str, Cell | None]]) -> None:
    """CSV, from at least one row."""
    text, source = io.StringIO(), iter(rows)
    first = next(source)
    writer = csv.DictWriter(text, list(first), lineterminator="\n")
    writer.writeheader()
    writer.writerow(first)
    writer.writerows(source)
    write_text(path, _utf8(text.getvalue()))


def _measured_rows(known: Mapping[str, Any], results: Results) -> Iterator[dict[str, Cell | None]]:
    """Each metric of each size, from what `as_dict` gives; empty where it is not a number."""
    together = [known] if TOGETHER in results else []
    for one in [*known["sizes"], *together]:
        for name, value in one["metrics"].items():
            low, high = one["intervals_95"].get(name, (None, None))
            yield {"size": one["size"], "metric": name, "value": value, "low": low, "high": high}


def _rows(results: Results, images: LabelledImages) -> Iterator[dict[str, Cell]]:
    for size, result in results.items():
        yield from prediction_rows(result, images, {"size": size})


def prediction_rows(
    result: EvaluationResult, images: LabelledImages, where: Mapping[str, Cell]
) -> Iterator[dict[str, Cell]]:
    """A row for each image: its name, `where`, `Task.evaluated_row`, the other columns of a list; or none at all."""
    for sample in result.samples:
        row = result.task.evaluated_row(sample.prediction, sample.target, result.class_names)
        if row is None:  # kept for another reason
            return
        cells = {name: str(np.float32(cell)) if isinstance(cell, float) else cell for name, cell in row.items()}
        names = name_beside(images.others, {"image", *where, *cells})
        kept = {new: images.others[name][sample.index] for name, new in names.items()}
        yield {"image": images.names[sample.index], **where, **cells, **kept}


def _utf8(text: str) -> str:
    """A file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")

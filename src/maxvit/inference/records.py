"""An evaluation as files: its figures as JSON, and every answer as a row of CSV."""

import csv
import io
import json
import platform
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from maxvit.data.dataset import LabelledImages
from maxvit.inference.evaluate import TOGETHER
from maxvit.inference.evaluation import Evaluation
from maxvit.inference.multi_label import MultiLabelEvaluation
from maxvit.storage import write_text

Results = Mapping[str, Evaluation | MultiLabelEvaluation]
BEST = 5  # classes of each image that are written down
_PACKAGES = ("maxvit", "torch", "torchvision", "numpy", "pillow", "onnxruntime")


def as_dict(results: Results) -> dict[str, Any]:
    """The figures as plain values, for JSON: null where one is not a number.

    Args:
        results: What `evaluate_sizes` gives.

    Returns:
        The figures of the one size, or of all together, with a row for each class; "sizes" has those of each size.
    """
    *_, final = results.values()
    sizes = [{"size": name, **result.figures()} for name, result in results.items() if name != TOGETHER]
    known: dict[str, Any] = _without_nan({**final.figures(), "per_class": final.per_class(), "sizes": sizes})
    return known


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and isnan(value) else value


def versions() -> dict[str, str]:
    """Of Python and of every package that can change an answer, where it is installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_records(folder: Path, results: Results, images: LabelledImages, settings: Mapping[str, Any]) -> None:
    """Write `evaluation.json` and `predictions.csv`; each replaces an earlier one in one step.

    The first holds `as_dict`, the settings, the versions of what computed and the date. The second has a row for each
    image that could be read, at each size and together: image, size, truth, answer, confidence, correct (1 or 0), and
    the five best classes with their probabilities, whose decimals give the float32 back. Where images have several
    labels each: image, size, truth and answer (classes joined by |), correct, and the probability of every class.

    Args:
        folder: Made if it is not there.
        results: What `evaluate_sizes` gives.
        images: What they were measured on.
        settings: What was asked for, as plain values.

    Raises:
        MaxViTError: If a file cannot be written.
    """
    date = datetime.now(UTC).isoformat(timespec="seconds")
    record = {**as_dict(results), "settings": dict(settings), "versions": versions(), "date": date}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_columns(next(iter(results.values()))))
    for name, result in results.items():
        if isinstance(result, MultiLabelEvaluation):
            writer.writerows(_rows_of_several(name, result, images.names))
        else:
            writer.writerows(_rows(name, result, images.names))
    write_text(folder / "predictions.csv", _utf8(text.getvalue()))
    write_text(folder / "evaluation.json", _utf8(json.dumps(record, indent=2, ensure_ascii=False) + "\n"))


def _columns(result: Evaluation | MultiLabelEvaluation) -> list[str]:
    if isinstance(result, MultiLabelEvaluation):
        return ["image", "size", "truth", "answer", "correct", *(f"probability:{name}" for name in result.class_names)]
    best = min(BEST, len(result.class_names))
    columns = [column for i in range(1, best + 1) for column in (f"class_{i}", f"probability_{i}")]
    return ["image", "size", "truth", "answer", "confidence", "correct", *columns]


def _rows_of_several(size: str, result: MultiLabelEvaluation, names: Any) -> Iterator[list[str | int]]:
    for row, (truth, answer, right) in enumerate(zip(result.labels, result.answers, result.right, strict=True)):
        sets = ["|".join(result.class_names[c] for c in np.flatnonzero(shown)) for shown in (truth, answer)]
        yield [names[result.indices[row]], size, *sets, int(right), *map(str, result.probabilities[row])]


def _rows(size: str, result: Evaluation, names: Any) -> Iterator[list[str | int]]:
    for row, best in enumerate(result.best(BEST)):
        chosen = [(result.class_names[c], str(result.probabilities[row, c])) for c in best]
        (answer, confidence), truth = chosen[0], int(result.labels[row])
        head = [names[result.indices[row]], size, result.class_names[truth], answer, confidence, int(best[0] == truth)]
        yield [*head, *(cell for pair in chosen for cell in pair)]


def _utf8(text: str) -> str:
    """A file name that is not UTF-8 reaches us with lone surrogates, which no UTF-8 file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")

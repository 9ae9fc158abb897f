"""Measure a network on labelled images, whatever its task."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isnan
from pathlib import Path

import numpy as np
import torch

from maxvit.config import Size
from maxvit.data.columns import ListColumns
from maxvit.data.dataset import LabelledImages
from maxvit.data.load import kind_of
from maxvit.data.loading import evaluation_batches
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, TorchEngine, open_engine
from maxvit.inference.ensemble import Ensemble, as_several, names_of
from maxvit.inference.progress import track
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.network import Network
from maxvit.tasks.protocols import Cell, Metric, Predicted, Target
from maxvit.tasks.task import Task

TOGETHER = "together"
Model = Network | Engine | str | Path


@dataclass(frozen=True, slots=True)
class Sample:
    """An image that was kept.

    Attributes:
        index: In the data set.
        size: (height, width) as decoded.
        prediction: What the network says, in the task's own form.
        target: What the label says, in the task's own form.
    """

    index: int
    size: Size
    prediction: Predicted
    target: Target


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """How good a network's predictions are.

    Attributes:
        task: What was predicted.
        class_names: Class names of the network.
        metric: Metric of all images.
        images: How many counted.
        skipped: A sentence for each image that could not be read, and does not count.
        samples: Images in the order of the data set: all, where a prediction fits into a row of a table; else those
            that were to be kept.
        metrics: By name, the most telling first.
        rows: A row for each class.
    """

    task: Task
    class_names: list[str]
    metric: Metric
    images: int
    skipped: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    metrics: dict[str, float] = field(init=False)
    rows: list[dict[str, Cell]] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", self.metric.compute())
        object.__setattr__(self, "rows", self.metric.rows())

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals of some of the metrics, where the task has them; it may take a second."""
        found: dict[str, tuple[float, float]] = getattr(self.metric, "intervals", dict)()
        return found

    @property
    def weakest(self) -> str:
        """The class whose images are recognised least, in a line, which is empty where all are alike."""
        rows = [row for row in self.rows if row.get("images") and isinstance(row.get("recall"), float)]
        recalls = [(float(row["recall"]), str(row["class"]), row["images"]) for row in rows]
        if len(recalls) < 3 or min(recalls)[0] == max(recalls)[0]:
            return ""
        recall, name, images = min(recalls)
        number = f"{images:,} images" if images != 1 else "one image"
        return f"weakest class: {name}, recognised in {self.say('recall', recall)} of its {number}"

    def say(self, name: str, value: float | None) -> str:
        """A value of a metric as a person reads it, such as "98.61%"; "-" in place of none, or of NaN."""
        if value is None or isnan(value):
            return "-"
        return f"{value:{'.2%' if name in self.task.in_percent else '.4f'}}"


def evaluate(
    model: Model | Sequence[Model],
    data: LabelledImages | str | Path,
    batch_size: int | None = None,
    workers: int = 0,
    show_progress: bool = False,
    *,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    size: Size | None = None,
    tta: str = "none",
    part: tuple[int, int] = (0, 1),
    keep: int = 0,
) -> EvaluationResult:
    """Compare a network's predictions with the labels, on images preprocessed as its weights expect.

    Args:
        model: A network, which is left in the mode that it was in; a checkpoint; or an engine, see `open_engine`.
            Several in a list predict together: the mean of their predictions, where the task has one.
        data: Images of classes that the model has, as `Task.load_eval` gives them; or where they are.
        batch_size: Images per forward; None: the task's.
        workers: Processes that decode.
        show_progress: Draw a bar on standard error.
        image_column: Column of a list that names the images, where `data` is a place; None: see `reading_task`.
        label_column: Columns of a list with the labels, one or several; None: likewise.
        size: (height, width) of the images; nothing else of the preprocessing changes, and the network keeps its
            windows. None: as the weights expect.
        tta: "flip": the mean for an image and its mirror image, in twice the time; not for characters, which change
            their meaning. "none": the image alone.
        part: (rank, world): every world-th image from rank on, for one of several processes; see `merge`.
        keep: How many samples to keep, spread evenly over the data set, where a prediction does not fit into a row.

    Raises:
        MaxViTError: If the classes are not the model's, a label does not fit the task, an option is out of range, or no
            image can be read; a part may be without any.
    """
    ensemble = Ensemble([as_engine(one) for one in as_several(model)], tta, size)
    engine, task = ensemble.engines[0], ensemble.task
    if isinstance(data, LabelledImages):
        ListColumns.of(image_column, label_column).refuse("data is images that are read already, and not a list")
        images = data
    else:
        images = reading_task(engine, str(data), image_column, label_column).load_eval(str(data), engine.class_names)
    rank, world = part
    if not 0 <= rank < world:
        raise MaxViTError(f"part is {part}; it takes (rank, world) with rank from 0 up to world - 1")
    class_names = _check_classes(engine, images)
    task.check(images)
    positions = range(rank, len(images), world)
    wanted = set(np.linspace(0, len(images) - 1, min(keep, len(images))).round().astype(int).tolist())
    spec, *others = ensemble.specs
    examples = TaskExamples(task, images.subset(positions), spec, others=others)
    metric, count, skipped, samples = task.metric(class_names), 0, list[str](), list[Sample]()
    fits = False  # into a row
    for batch in track(
        evaluation_batches(examples, batch_size or task.batch_size, workers), "evaluating", show_progress
    ):
        skipped += batch.skipped
        if not len(batch.targets):
            continue
        sizes, targets = batch.sizes, list(batch.targets)
        predictions = ensemble.predict([batch.images, *batch.others], sizes)
        indices = [positions[i] for i in batch.indices.tolist()]
        fits = fits or task.row(predictions[0], class_names) is not None
        if not fits:
            metric.add(predictions, targets)
        rows = zip(indices, sizes, predictions, targets, strict=True)
        samples += [Sample(*row) for row in rows if fits or row[0] in wanted]
        count += len(predictions)
    if not count and world == 1:
        first = f"; the first: {skipped[0]}" if skipped else ""
        raise MaxViTError(f"none of the {len(images)} images can be read{first}")
    samples.sort(key=lambda sample: sample.index)
    if fits:  # batches come by size, and a sum depends on its order
        _add(metric, samples)
    return EvaluationResult(task, class_names, metric, count, skipped, samples)


def reading_task(
    engine: Engine, place: str, image_column: str | None = None, label_column: str | Sequence[str] | None = None
) -> Task:
    """The task of an engine, to read a data set; of a list the columns that are named, else as training was told."""
    given = ListColumns.of(image_column, label_column)
    said = (engine.provenance.get("recipe") or {}).get("data") or {}
    known = ListColumns.of(said.get("image_column"), said.get("label_column"))
    if kind_of(place) == "list":
        given = ListColumns(given.image or known.image, given.labels or known.labels)
    return engine.task.by_columns(given)


def as_engine(model: Model) -> Engine:
    """What computes: a network as it is, a checkpoint on the fastest engine, an engine itself."""
    if isinstance(model, str | Path):
        return open_engine(model)
    return TorchEngine(model) if isinstance(model, torch.nn.Module) else model


def evaluate_sizes(
    engines: Mapping[Size, Model] | Mapping[Size | None, Sequence[Model]],
    images: LabelledImages,
    batch_size: int | None = None,
    workers: int = 0,
    show_progress: bool = False,
    *,
    tta: str = "none",
    keep: int = 0,
) -> dict[str, EvaluationResult]:
    """`evaluate`, with its other arguments, at several sizes, and the prediction of all together.

    Args:
        engines: What predicts at each size, (height, width); often the same. At None each of several predicts at its
            own. See `open_sizes_together`.

    Returns:
        "224 x 224" and so on, in the order given; then, for more than one size, "together": with the mean of their
        predictions, where the task has one.

    Raises:
        MaxViTError: As `evaluate`; or if there is no size, or an engine refuses its own, before any image is read.
    """
    if not engines:
        raise MaxViTError("there are no sizes to evaluate at: give one or more")
    opened = {size: [as_engine(one) for one in as_several(model)] for size, model in engines.items()}
    for size, together in opened.items():
        Ensemble(together, tta, size)  # is refused where it cannot be
        if size is not None and len(opened) > 1:
            for engine in together:
                engine(torch.zeros(1, engine.config.in_channels, *size))
    results = {
        size_name(size): evaluate(together, images, batch_size, workers, show_progress, size=size, tta=tta, keep=keep)
        for size, together in opened.items()
    }
    of_all = mean(list(results.values())) if len(results) > 1 else None
    return results if of_all is None else {**results, TOGETHER: of_all}


def size_name(size: Size | None) -> str:
    """What a size is called: "224 x 320", height first; None: "each its own"."""
    return "each its own" if size is None else f"{size[0]} x {size[1]}"


def merge(parts: Sequence[EvaluationResult]) -> EvaluationResult:
    """Put together what several processes predicted, each for its part of one data set; see `evaluate`.

    Args:
        parts: In any order; some may be empty.

    Raises:
        MaxViTError: If there is no prediction at all, two parts hold the same image, or their classes differ.
    """
    if not (count := sum(part.images for part in parts)):
        first = next((f"; the first: {part.skipped[0]}" for part in parts if part.skipped), "")
        raise MaxViTError(f"none of the {len(parts)} parts holds a prediction: there is nothing to merge{first}")
    if other := [part for part in parts if part.class_names != parts[0].class_names]:
        given = [", ".join(part.class_names[:5]) for part in (parts[0], other[0])]
        raise MaxViTError(f"parts have other classes ({given[0]} and {given[1]}): merge those of one evaluation")
    samples = sorted((sample for part in parts for sample in part.samples), key=lambda sample: sample.index)
    if twice := [b.index for a, b in pairwise(samples) if a.index == b.index]:
        raise MaxViTError(f"image {twice[0]} is in two parts: give each image to one, with part=(rank, world)")
    metric = parts[0].task.metric(parts[0].class_names)
    if len(samples) == count:
        _add(metric, samples)
    else:
        for part in parts:
            metric.merge(part.metric.state())
    skipped = [sentence for part in parts for sentence in part.skipped]
    return EvaluationResult(parts[0].task, parts[0].class_names, metric, count, skipped, samples)


def mean(results: Sequence[EvaluationResult]) -> EvaluationResult | None:
    """The result of the mean of several predictions, such as those of one network at several sizes.

    Returns:
        None, where the task has no mean of predictions.

    Raises:
        MaxViTError: If they are not for the same images.
    """
    first = results[0]
    if any([s.index for s in other.samples] != [s.index for s in first.samples] for other in results[1:]):
        raise MaxViTError("the predictions are for different images, and have no mean: evaluate on the same ones")
    samples = []
    for same in zip(*(result.samples for result in results), strict=True):
        prediction = first.task.mean([sample.prediction for sample in same])
        if prediction is None:
            return None
        samples.append(dataclasses.replace(same[0], prediction=prediction))
    if len(samples) < first.images:
        return None
    metric = first.task.metric(first.class_names)
    _add(metric, samples)
    return EvaluationResult(first.task, first.class_names, metric, first.images, first.skipped, samples)


def _add(metric: Metric, samples: Iterable[Sample]) -> None:
    predictions, targets = [s.prediction for s in samples], [s.target for s in samples]
    metric.add(predictions, targets)


def _check_classes(engine: Engine, images: LabelledImages) -> list[str]:
    """Refuse data of other classes than the network's; return the names of the classes."""
    names = names_of(engine)
    if len(names) != len(images.class_names):
        raise MaxViTError(
            f"the model has {len(names)} classes and the data {len(images.class_names)}: "
            "evaluate on the classes that it was trained for"
        )
    if engine.class_names and list(images.class_names) != names:
        raise MaxViTError(
            f"the model's classes are {', '.join(names[:5])}, ..., the data's "
            f"{', '.join(images.class_names[:5])}, ...: evaluate on the classes that it was trained for"
        )
    if not len(images):
        raise MaxViTError("there are no images to evaluate on: give one or more")
    return list(images.class_names)

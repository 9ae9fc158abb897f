"""One call that says what state somebody's images are in."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from maxvit.checking.crops import with_crops
from maxvit.checking.duplicates import Pair, find_duplicates
from maxvit.checking.features import FrozenFeatures
from maxvit.checking.looks import look
from maxvit.checking.neighbours import nearest
from maxvit.checking.outliers import NEIGHBOURS, Outlier, find_outliers
from maxvit.checking.parts import Images, join
from maxvit.config import Preprocessing
from maxvit.data.band_count import first_count
from maxvit.data.bands import say_shown
from maxvit.data.builtin import is_builtin
from maxvit.data.columns import ListColumns
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import PassedOver
from maxvit.data.images import decode
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError, say_missing
from maxvit.inference.device import choose_device
from maxvit.inference.progress import track
from maxvit.tasks import DEFAULT, find_task, make_task, refuse_other_tasks
from maxvit.tasks.classification.linear import FOLDS, reduce
from maxvit.tasks.classification.suspicious_labels import find_suspicious
from maxvit.tasks.suspicion import Suspicion
from maxvit.tasks.task import Task

COMPARED = 3  # nearest neighbours of an image, of which it may be a crop


@dataclass(frozen=True, slots=True)
class DataCheck:
    """What was found in a data set.

    Attributes:
        images: All of them; below, an image is its index among them.
        sizes: (n, 2) int32, height and width; zeros where an image cannot be read.
        unreadable: Why an image cannot be read, by its index.
        pairs: Images that repeat an earlier one.
        suspicions: Labels that look wrong, the least probable first.
        outliers: Images unlike all others, the furthest first.
        left_out: A sentence for each question that was not asked, and why.
        passed_over: Files that are in the data and are not used.
        spec: How its images are decoded.
        columns: Which columns of a list were read, as a clause.
    """

    images: Images
    sizes: npt.NDArray[np.int32]
    unreadable: Mapping[int, str]
    pairs: Sequence[Pair]
    suspicions: Sequence[Suspicion]
    outliers: Sequence[Outlier]
    left_out: Sequence[str]
    passed_over: Sequence[PassedOver]
    spec: Preprocessing
    columns: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """Number of images of each class, in the classes' order; empty, where an image has not exactly one."""
        if self.images.classes is None:
            return {}
        numbers = Counter(self.images.classes)
        return {name: numbers[i] for i, name in enumerate(self.images.class_names)}

    def between_parts(self) -> list[Pair]:
        """Pairs of which one image is in another part than the other: what is learned by heart counts as known."""
        return [pair for pair in self.pairs if self.images.parts[pair.first] != self.images.parts[pair.second]]

    def under_two_classes(self) -> list[Pair]:
        """Pairs whose images have different classes, so that one of both is wrong."""
        classes = self.images.classes
        return [] if classes is None else [p for p in self.pairs if classes[p.first] != classes[p.second]]

    def three_sizes(self) -> dict[str, tuple[int, int]]:
        """The (height, width) with the fewest, the median and the most pixels, of the images that can be read."""
        known = self.sizes[self.sizes[:, 0] > 0]
        if not len(known):
            return {}
        order = np.argsort(known.astype(np.int64).prod(1), kind="stable")
        chosen = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
        return {name: (int(known[i, 0]), int(known[i, 1])) for name, i in chosen.items()}

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values, images by name."""
        names, images = self.images.names, self.images
        return {
            "images": len(images),
            "parts": dict(Counter(images.parts)),
            "classes": self.counts,
            "sizes": {name: list(size) for name, size in self.three_sizes().items()},
            "skipped": [{"path": str(path), "why": why} for path, why in self.passed_over],
            "unreadable": [{"image": names[i], "why": why} for i, why in self.unreadable.items()],
            "duplicates": [
                {
                    "image": names[pair.second],
                    "of": names[pair.first],
                    "kind": pair.kind,
                    "similarity": round(pair.similarity, 4),
                    "parts": [images.parts[pair.second], images.parts[pair.first]],
                    "classes": [images.class_of(pair.second), images.class_of(pair.first)],
                }
                for pair in self.pairs
            ],
            "labels": [one.to_json(names, images.class_names) for one in self.suspicions],
            "outliers": [{"image": names[one.image], "distance": round(one.distance, 3)} for one in self.outliers],
            "left_out": list(self.left_out),
        }


def check(
    data: str | Path,
    task: str = DEFAULT,
    *,
    image_column: str | None = None,
    label_column: str | Sequence[str] | None = None,
    workers: int = 0,
    device: str = "auto",
    show_progress: bool = True,
) -> DataCheck:
    """Look at every image of a data set; nothing in it is changed.

    Args:
        data: As `maxvit.train` takes it.
        task: Its task. Whether labels look wrong is asked where an image has one class.
        image_column: As for `maxvit.train`.
        label_column: As for `maxvit.train`.
        workers: Processes that decode images; 0: none.
        device: As for `maxvit.inference.device.choose_device`.
        show_progress: Say on standard error how many images are read, and draw a bar.

    Raises:
        MaxViTError: If the data is not what the task takes, or none of its images can be read.
    """
    parts, opened = open_parts(str(data), task, ListColumns.of(image_column, label_column))
    images = join(parts, opened, str(data))
    if show_progress:  # at once: before a bar moves, and where none is drawn
        print(f"reading {len(images):,} images of {data}", file=sys.stderr)
    first = next(iter(parts.values()))
    spread = first.shards is None
    plain = Preprocessing().for_channels(first_count(first.sources, spread))
    measured = measure_range(first.sources, plain, spread)
    spec = replace(plain, value_range=measured[0]) if measured else plain
    looks = look(images, FrozenFeatures(choose_device(device)), spec, workers, show_progress)
    if len(looks.unreadable) == len(images):
        raise MaxViTError(f"none of the {len(images):,} images of {data} can be read: {looks.unreadable[0]}")
    track_steps = partial(track, what="comparing", show=show_progress)
    pairs = find_duplicates(looks, partial(_same_pixels, images, spec), track_steps)
    readable = [i for i in range(len(images)) if i not in looks.unreadable]
    features, outliers = np.zeros((len(readable), 1), np.float32), []
    if len(readable) > 1:
        features = reduce(looks.features[readable])
        neighbours, distances = nearest(features, NEIGHBOURS, track_steps)
        pairs = with_crops(pairs, looks, np.array(readable), neighbours[:, :COMPARED])
        outliers = find_outliers(distances)
    suspicions, left_out = _judge_labels(images, features, readable)
    if shown := say_shown(spec):
        left_out.append(f"near copies, labels and outliers were judged by {shown}: other bands count in exact copies")
    return DataCheck(
        images,
        looks.sizes,
        looks.unreadable,
        pairs,
        suspicions,
        [replace(one, image=readable[one.image]) for one in outliers],
        left_out,
        list(dict.fromkeys(passed for part in parts.values() for passed in part.passed_over)),
        spec,
        first.columns,
    )


def open_parts(data: str, task: str, columns: ListColumns) -> tuple[dict[str, LabelledImages], Task]:
    """The parts of a data set as it has them itself, and its task. Raises `MaxViTError` as `check`."""
    opened = make_task({"name": task}).by_columns(columns)
    if not is_builtin(data) and "://" not in data:
        if not Path(data).exists():
            raise MaxViTError(f"{data} does not exist: check the path")
        refuse_other_tasks(Path(data), find_task(task))
    return opened.parts(data), opened


def _judge_labels(
    images: Images, features: npt.NDArray[np.float32], readable: Sequence[int]
) -> tuple[list[Suspicion], list[str]]:
    """Labels that look wrong; and in a sentence why some or all were not judged."""
    if images.classes is None:
        return [], ["labels were not judged: that takes images with exactly one class each"]
    numbers = Counter(images.classes[i] for i in readable)
    judged = [k for k, i in enumerate(readable) if numbers[images.classes[i]] >= FOLDS]
    labels = [images.classes[readable[k]] for k in judged]
    few = [images.class_names[c] for c, number in sorted(numbers.items()) if number < FOLDS]
    said = f"labels of {_classes(few)} were not judged: that takes {FOLDS} images of a class" if few else ""
    if len(set(labels)) < 2:
        return [], [f"labels were not judged: that takes two classes of at least {FOLDS} images"]
    try:
        found = find_suspicious(features[judged], labels)
    except ModuleNotFoundError as error:
        return [], [f"labels were not judged: that needs {say_missing(str(error.name))}"]
    return [replace(one, image=readable[judged[one.image]]) for one in found], [said] if said else []


def _classes(names: Sequence[str]) -> str:
    """Such as "class 'cat'", or "3 classes ('ant', ...)"."""
    return f"class {names[0]!r}" if len(names) == 1 else f"{len(names):,} classes ({names[0]!r}, ...)"


def _same_pixels(images: Images, spec: Preprocessing, first: int, second: int) -> bool:
    """Whether two images are the same, pixel by pixel, as a person sees them."""
    a, b = (np.asarray(decode(images.sources[i], spec)) for i in (first, second))
    return np.array_equal(a, b)

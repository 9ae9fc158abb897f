"""A picture to begin with, of those that a run held out."""

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import NamedTuple

import numpy as np

from maxvit.data.images import ImageLike, read_size
from maxvit.errors import MaxViTError
from maxvit.storage import RUN_CONFIG
from maxvit.tasks import make_task
from maxvit.training.files import read_recipe
from maxvit.training.setup import load_data

_TRIED = 8  # pictures, spread over all


class Example(NamedTuple):
    """A picture that a network has not learned from.

    Attributes:
        name: What it is called.
        source: Where it is, or what.
        truth: Its label, in a line.
        part: "test" or "validation".
    """

    name: str
    source: ImageLike
    truth: str
    part: str


def held_out_examples(checkpoint: str | Path) -> Iterator[Example]:
    """Some pictures that the run of a checkpoint held out, spread over all; those with an empty label come last.

    None is given of a checkpoint that is in no folder of a run. Whether the network is right plays no part.

    Raises:
        MaxViTError: If the data of the run is gone, or is not as it should be.
    """
    path = Path(checkpoint)
    run = path if path.is_dir() else path.parent
    if not path.exists() or not (run / RUN_CONFIG).is_file():
        return
    recipe = read_recipe(run)
    task, data = make_task(recipe.task), load_data(recipe)
    images, part = (data.val, "validation") if data.test is None else (data.test, "test")
    spread = [int(i) for i in np.linspace(0, len(images) - 1, min(_TRIED, len(images)) + 1).round()[1:]]
    for i in sorted(spread, key=lambda i: _is_empty(images.labels[i])):
        try:
            source = images.sources[i]
            truth = task.target_summary(task.target(images.labels[i], read_size(source)), images.class_names)
        except MaxViTError:
            continue  # it cannot be read
        yield Example(Path(images.names[i]).name, source, truth, part)


def _is_empty(label: object) -> bool:
    return isinstance(label, Sized) and not len(label)

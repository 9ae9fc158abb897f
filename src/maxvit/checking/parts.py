"""The parts of a data set as one list of images, each with its part and its class."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maxvit.data.dataset import LabelledImages, Lazy
from maxvit.data.images import ImageLike
from maxvit.errors import MaxViTError
from maxvit.tasks.task import Task

ALL = "all"  # the part of a data set that has no parts


@dataclass(frozen=True, slots=True)
class Images:
    """Every image of a data set, part after part: train, val, test; or all.

    Attributes:
        sources: As of `LabelledImages`.
        names: What to call each image: its path in the data set; of what is not a file, part and name.
        parts: Part of each image.
        classes: Index of each image's class; None: an image has not exactly one.
        class_names: What the classes are called.
    """

    sources: Sequence[ImageLike]
    names: Sequence[str]
    parts: Sequence[str]
    classes: Sequence[int] | None
    class_names: Sequence[str]

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def are_files(self) -> bool:
        """Whether each image is a file of its own."""
        return all(isinstance(source, str | Path) for source in self.sources)

    def class_of(self, index: int) -> str:
        """Name of an image's class; nothing, where it has not exactly one."""
        return "" if self.classes is None else self.class_names[self.classes[index]]


def join(parts: Mapping[str, LabelledImages], task: Task, place: str) -> Images:
    """One list of the parts that `Task.parts` gives.

    Raises:
        MaxViTError: If there is no image.
    """
    if not any(map(len, parts.values())):
        raise MaxViTError(f"{place} holds no images: give a folder, a list or shards, as maxvit train takes them")
    own = [task.one_class(images) for images in parts.values()]
    classes = None if any(labels is None for labels in own) else [c for labels in own if labels for c in labels]
    return Images(
        _Chain([images.sources for images in parts.values()]),
        [name for part, images in parts.items() for name in _names(part, images, place)],
        [part for part, images in parts.items() for _ in range(len(images))],
        classes,
        next(iter(parts.values())).class_names,
    )


def _names(part: str, images: LabelledImages, place: str) -> Iterator[str]:
    path = Path(place)
    root = f"{path if path.is_dir() else path.parent}{os.sep}"
    before = "" if part == ALL else f"{part}/"
    for i in range(len(images)):
        is_file = isinstance(images.sources, list) and isinstance(images.sources[i], str | Path)
        yield str(images.sources[i]).removeprefix(root) if is_file else f"{before}{images.names[i]}"


class _Chain(Lazy[Any]):
    """Sequences one after another, read where they are."""

    def __init__(self, pieces: Sequence[Sequence[Any]]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def item(self, index: int) -> Any:
        for piece in self.pieces:
            if index < len(piece):
                return piece[index]
            index -= len(piece)
        raise IndexError(index)

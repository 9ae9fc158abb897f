"""Images to predict, wherever they are: files, folders, a list, or shards. Labels are optional."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np

from maxvit.data.columns import GUESSED, ListColumns
from maxvit.data.dataset import LabelledImages, Lazy
from maxvit.data.finding import Found, PassedOver, find_images, say_passed_over
from maxvit.data.images import ImageLike
from maxvit.data.load import kind_of
from maxvit.data.shards.read import open_shards
from maxvit.data.table import read_paths
from maxvit.errors import MaxViTError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Gathered:
    """Images, decoded only when they are wanted.

    Attributes:
        sources: Paths, or the bytes of files, read when an item is asked for.
        names: What to call each, no two alike.
        labels: What the source says that each shows; None: it does not.
        passed_over: What else is in the folders.
        others: The cells of all other columns of a list, by name.
        columns: Which columns of a list were read, as a clause.
    """

    sources: Sequence[ImageLike]
    names: Sequence[str]
    labels: Sequence[str] | None = None
    passed_over: Sequence[PassedOver] = ()
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: str = ""

    def __len__(self) -> int:
        return len(self.names)

    def unlabelled(self) -> LabelledImages:
        """For what wants labels and does not look at them."""
        return LabelledImages(self.sources, np.zeros(len(self), np.float32), [], self.names)


def gather(places: Sequence[str | Path], columns: ListColumns = GUESSED) -> Gathered:
    """Find the images of files and folders; or of one list (.csv, .tsv, .parquet), one folder or URL of shards.

    In a list the column of the images alone is needed, which `columns` may name. An image of shards is called
    SPLIT/KEY, and every split is taken. A file that does not exist is found out when it is read.

    Raises:
        MaxViTError: If there is no image, a list or shards are not as they should be or not alone.
    """
    kinds = [kind_of(place) for place in places]
    if special := [place for place, kind in zip(places, kinds, strict=True) if kind != "files"]:
        if len(places) > 1:
            raise MaxViTError(f"{special[0]} is given with {len(places) - 1} more: give a list or shards alone")
        if kinds == ["list"]:
            listed = read_paths(Path(places[0]), columns)
            return Gathered(listed.sources, listed.names, listed.labels, others=listed.others, columns=listed.columns)
        columns.refuse(f"{places[0]} is not a list, whose columns could be named")
        found = _shards(places[0])
    else:
        columns.refuse("the images are not given as a list, whose columns could be named")
        of_each = [_files(Path(place)) for place in places]
        paths = list(dict.fromkeys(path for files in of_each for path in files.images))  # each once
        passed_over = [passed for files in of_each for passed in files.passed_over]
        found = Gathered(paths, [str(path) for path in paths], passed_over=passed_over)
    if not len(found):
        raise MaxViTError("there are no images to predict: give files, folders, a list or shards")
    return found


def _files(place: Path) -> Found:
    if not place.is_dir():
        return Found([place])
    if not (found := find_images(place)).images:
        raise MaxViTError(f"folder {place} holds no images{say_passed_over(found.passed_over)}")
    return found


def _shards(folder: str | Path) -> Gathered:
    splits = open_shards(folder)
    sources = Joined([part.sources for part in splits.values()])
    names = Joined([_Keys(split, part.names) for split, part in splits.items()])
    labels = [part.class_names[int(label)] for part in splits.values() for label in part.labels]
    return Gathered(sources, names, labels)


class Joined(Lazy[T]):
    """Several sequences one after another."""

    def __init__(self, parts: Sequence[Sequence[T]]) -> None:
        self.parts = parts
        self.ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def item(self, index: int) -> T:
        part = bisect_right(self.ends, index)
        return self.parts[part][index - (self.ends[part - 1] if part else 0)]


class _Keys(Lazy[str]):
    """The names of a split with it in front, for two splits may have the same."""

    def __init__(self, split: str, names: Sequence[str]) -> None:
        self.split, self.names = split, names

    def __len__(self) -> int:
        return len(self.names)

    def item(self, index: int) -> str:
        return f"{self.split}/{self.names[index]}"

"""Labelled images as a list: where each is, what is known of it, how to split them, and what to say of them."""

from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from maxvit.data.finding import PassedOver, normal, say_passed_over
from maxvit.data.images import ImageLike
from maxvit.errors import MaxViTError

T = TypeVar("T")
Labels = Sequence[Any] | npt.NDArray[Any]
_IN_WORDS = {"train": "training", "val": "validation", "test": "test"}


class Lazy(Sequence[T]):
    """A sequence whose items are made when they are asked for; a slice of it makes none."""

    @abstractmethod
    def item(self, index: int) -> T:
        """One of them; `index` counts from the beginning and exists."""

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Picked(self, range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.item(index % len(self))


class Picked(Lazy[T]):
    """Some items of a sequence in another order."""

    def __init__(self, items: Sequence[T], indices: Sequence[int]) -> None:
        self.items, self.indices = items, indices

    def __len__(self) -> int:
        return len(self.indices)

    def item(self, index: int) -> T:
        return self.items[self.indices[index]]


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images and what is known of them; an image is decoded, and a label read, when it is asked for.

    Attributes:
        sources: Paths, arrays in memory, or the bytes of files.
        labels: One for each image, in the form of its task. To classify: an index into `class_names`; or an array
            (n, classes), bool where images have any number of classes, float32 where they have a share of each (soft
            labels, which sum to 1). Else the path of a mask, a list of boxes, ten shares, ...
        class_names: What the labels tell apart, in order.
        names: What to call each image in messages and reports.
        shards: The file that holds each image; the sampler keeps neighbours together. None: each is a file of its own.
        part: Part of the data set: "train", "val", "test", or "all" of it.
        passed_over: What is there, or is named there, and is not among them.
        are_classes: Whether an image can be of `class_names`; False: they are scores, or numbers that are measured.
        others: Columns of a list that are not used, by name: a cell for each image.
        columns: Which columns of a list were read, as a clause; nothing, where they have the documented names.
    """

    sources: Sequence[ImageLike]
    labels: Labels
    class_names: list[str]
    names: Sequence[str]
    shards: Sequence[int] | None = None
    part: str = "all"
    passed_over: Sequence[PassedOver] = ()
    are_classes: bool = True
    others: Mapping[str, Sequence[str]] = field(default_factory=dict)
    columns: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> "LabelledImages":
        """Some of the images, in the order of `indices`."""
        return replace(
            self,
            sources=_pick(self.sources, indices),
            labels=_pick(self.labels, indices),
            names=_pick(self.names, indices),
            shards=None if self.shards is None else [self.shards[i] for i in indices],
            others={name: _pick(cells, indices) for name, cells in self.others.items()},
        )


def _pick(items: Any, indices: Sequence[int]) -> Any:
    """A list or an array where there is one; what is read when it is asked for stays so."""
    if isinstance(items, np.ndarray):
        return items[np.asarray(indices, np.int64)]
    return [items[i] for i in indices] if isinstance(items, list | array) else Picked(items, indices)


@dataclass(frozen=True, slots=True)
class Splits:
    """What to learn from, what to choose the best epoch by, and what to report on (None: there is no third part)."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages | None = None


def split(images: LabelledImages, held_out: int | float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split into (kept, held out), each class in proportion; the same for the same seed.

    Where an image has several classes or soft labels there is no proportion to keep, and the split is a plain draw.

    Args:
        images: At least two of every class.
        held_out: A number of images, or a share between 0 and 1; at least one of each class is held out, and one kept.
        seed: Seed of the shuffle.

    Raises:
        MaxViTError: If a class has a single image, or there is a single image in all.
    """
    if isinstance(images.labels, np.ndarray):
        return draw_out(images, held_out, seed)
    from sklearn.model_selection import train_test_split

    counts = Counter(images.labels)
    if few := [images.class_names[c] for c, n in sorted(counts.items()) if n < 2]:
        raise MaxViTError(
            f"class {few[0]!r} has a single image; give at least two of every class, so that one can be held out"
        )
    number = held_out if isinstance(held_out, int) else round(held_out * len(images))
    number = min(max(number, len(counts)), len(images) - len(counts))
    kept, out = train_test_split(
        list(range(len(images))), test_size=number, stratify=list(images.labels), random_state=seed
    )
    for giver, taker in ((kept, out), (out, kept)):  # in proportion, a rare class may fall to one side alone
        moved = {images.labels[i]: i for i in reversed(giver)}  # the first of each class
        for c in moved.keys() & {images.labels[i] for i in taker}:
            del moved[c]
        giver[:] = [i for i in giver if moved.get(images.labels[i]) != i]
        taker += [moved[c] for c in sorted(moved)]
    return images.subset(kept), images.subset(out)


def at_most(images: LabelledImages, number: int, seed: int) -> LabelledImages:
    """So many of the images, drawn by a seed, in their order; all of them, where there are no more."""
    if len(images) <= number:
        return images
    drawn = np.random.default_rng(seed).permutation(len(images))[:number]
    return images.subset(np.sort(drawn).tolist())


def draw_out(images: LabelledImages, held_out: int | float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split into (kept, held out) by a draw that is the same for the same seed; at least one image on both sides.

    Args:
        images: At least two.
        held_out: A number of images, or a share between 0 and 1.
        seed: Seed of the draw.

    Raises:
        MaxViTError: If there is a single image.
    """
    if len(images) < 2:
        raise MaxViTError("there is a single image; give at least two, so that one can be held out")
    number = held_out if isinstance(held_out, int) else round(held_out * len(images))
    number = min(max(number, 1), len(images) - 1)
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(images))]
    return images.subset(sorted(order[number:])), images.subset(sorted(order[:number]))


def part_to_evaluate(parts: Mapping[str, LabelledImages]) -> LabelledImages:
    """The part of a data set to evaluate: test, else val, else train, which are then all; or "all"."""
    part = next(name for name in ("test", "val", "train", "all") if name in parts)
    return replace(parts[part], part="all" if part == "train" else part)


def refuse_unknown(
    found: Sequence[str], class_names: Sequence[str], call: Callable[[str], str], whose: str = "the model"
) -> None:
    """Check that a model knows all classes of some data.

    Args:
        found: The data's.
        class_names: The model's.
        call: What to call the first that is unknown, in the message.
        whose: What to call what has the known ones there.

    Raises:
        MaxViTError: If it lacks one.
    """
    numbers = class_numbers(class_names)
    if unknown := [name for name in found if normal(name) not in numbers]:
        known = ", ".join(class_names[:8]) + (", ..." if len(class_names) > 8 else "")
        raise MaxViTError(f"{call(unknown[0])} is not a class of {whose}; its {len(class_names)} classes are {known}")


def class_numbers(class_names: Iterable[str]) -> dict[str, int]:
    """The number of each class by the normal form of its name: see `normal`."""
    return {normal(name): i for i, name in enumerate(class_names)}


def in_classes(images: LabelledImages, class_names: list[str] | None, where: str) -> LabelledImages:
    """The same images with the numbers that a model gives to their classes.

    Args:
        images: Images of classes that are all known.
        class_names: The model's; None: as they are.
        where: What to call the data in messages.

    Raises:
        MaxViTError: If the model lacks one of the classes.
    """
    if class_names is None or class_names == images.class_names:
        return images
    refuse_unknown(images.class_names, class_names, lambda name: f"{where}: {name!r}")
    known = class_numbers(class_names)
    numbers = [known[normal(name)] for name in images.class_names]
    labels: Labels
    if isinstance(images.labels, np.ndarray):
        labels = np.zeros((len(images), len(class_names)), images.labels.dtype)
        labels[:, numbers] = images.labels
    else:
        labels = [numbers[label] for label in images.labels]
    return replace(images, labels=labels, class_names=class_names)


def describe(data: Splits | LabelledImages) -> str:
    """How many images of how many classes, in which parts, and what was passed over and why."""
    if isinstance(data, LabelledImages):
        parts: dict[str, LabelledImages] = {data.part: data}
    else:
        parts = {name: images for name in _IN_WORDS if (images := getattr(data, name)) is not None}
    first = next(iter(parts.values()))
    number, are_classes = len(first.class_names), first.are_classes
    classes = f" of {number:,} class{'es' * (number != 1)}" if are_classes else ""
    known = [f"{len(images):,} {_IN_WORDS[name]}" for name, images in parts.items() if name in _IN_WORDS]
    return describe_images(
        sum(map(len, parts.values())),
        [passed for images in parts.values() for passed in images.passed_over],
        classes + (f" ({', '.join(known)})" if known else "") + first.columns,
    )


def describe_images(number: int, passed_over: Iterable[PassedOver], what: str = "") -> str:
    """The same of images of which no more is known, or what is said of them in words."""
    return f"data: {number:,} image{'s' * (number != 1)}{what}{say_passed_over(passed_over)}"


def say_balance(counts: Mapping[str, int]) -> str:
    """The smallest and the largest class.

    Args:
        counts: Number of images of each class; at least one class.
    """
    least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
    few, many = counts[least], counts[most]
    if few == many:
        return f"{few:,} images each"
    return f"smallest {least!r} with {few:,} image{'s' * (few != 1)}, largest {most!r} with {many:,}" + (
        f", {many / few:.1f} times as many" if few else ""
    )

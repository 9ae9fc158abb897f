"""Labelled images as a list: where each is, its class, and how to split them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from maxvit.data.images import ImageLike
from maxvit.errors import MaxViTError


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images with one class each, decoded only when they are wanted.

    Attributes:
        sources: Paths, or arrays in memory.
        labels: Index into `class_names` for each image.
        class_names: The classes, in order.
        names: What to call each image in messages and reports.
        shards: Which file each image lies in, so that neighbours can be read together; None: each is a file of its own.
    """

    sources: Sequence[ImageLike]
    labels: Sequence[int]
    class_names: list[str]
    names: Sequence[str]
    shards: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Sequence[int]) -> "LabelledImages":
        """Some of the images, in the order of `indices`."""
        return LabelledImages(
            [self.sources[i] for i in indices],
            [self.labels[i] for i in indices],
            self.class_names,
            [self.names[i] for i in indices],
            None if self.shards is None else [self.shards[i] for i in indices],
        )


@dataclass(frozen=True, slots=True)
class Splits:
    """What to learn from, what to choose the best epoch by, and what to report on (None: there is no third part)."""

    train: LabelledImages
    val: LabelledImages
    test: LabelledImages | None = None


def split(images: LabelledImages, held_out: int | float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """Split into (kept, held out), each class in proportion; the same for the same seed.

    Args:
        images: At least two of every class.
        held_out: A number of images, or a share between 0 and 1; at least one of each class is held out, and one kept.
        seed: Of the shuffle.

    Raises:
        MaxViTError: If a class has a single image.
    """
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
        for c in sorted(counts.keys() - {images.labels[i] for i in taker}):
            moved = next(i for i in giver if images.labels[i] == c)
            giver.remove(moved)
            taker.append(moved)
    return images.subset(kept), images.subset(out)

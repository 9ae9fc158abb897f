"""Images with annotations of any kind as a list; an annotation is read when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from maxvit.data.dataset import Picked
from maxvit.data.finding import PassedOver
from maxvit.data.images import ImageLike


@dataclass(frozen=True, slots=True)
class AnnotatedImages:
    """Images and what is known of them.

    Attributes:
        sources: Paths, or arrays in memory.
        annotations: One an image; what it is, the task says: the path of a mask, a list of boxes, ten shares.
        class_names: What the annotations tell apart, in order.
        names: What to call each image in messages and reports.
        part: Of the data set: "train", "val", "test", or "all" of it.
        passed_over: What lies there, or is named there, and is not among them.
        are_classes: Whether an image can be of `class_names`; False: they are the scores that people give.
    """

    sources: Sequence[ImageLike]
    annotations: Sequence[Any]
    class_names: list[str]
    names: Sequence[str]
    part: str = "all"
    passed_over: Sequence[PassedOver] = ()
    are_classes: bool = True

    def __len__(self) -> int:
        return len(self.annotations)

    def subset(self, indices: Sequence[int]) -> "AnnotatedImages":
        """Some of the images, in the order of `indices`."""
        sources, annotations, names = (Picked(s, indices) for s in (self.sources, self.annotations, self.names))
        return replace(self, sources=sources, annotations=annotations, names=names)


@dataclass(frozen=True, slots=True)
class AnnotatedSplits:
    """What to learn from, what to choose the best epoch by, and what to report on (None: there is no third part)."""

    train: AnnotatedImages
    val: AnnotatedImages
    test: AnnotatedImages | None = None


def draw_out(images: AnnotatedImages, share: float, seed: int) -> tuple[AnnotatedImages, AnnotatedImages]:
    """Split into (kept, held out) by a draw that is the same for the same seed; at least one image on both sides."""
    number = min(max(round(share * len(images)), 1), len(images) - 1)
    order = [int(i) for i in np.random.default_rng(seed).permutation(len(images))]
    return images.subset(sorted(order[number:])), images.subset(sorted(order[:number]))

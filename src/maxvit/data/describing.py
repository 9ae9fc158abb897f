"""What a data set holds, in the one line that each command says of it."""

from collections.abc import Iterable

from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.finding import PassedOver, say_passed_over

_IN_WORDS = {"train": "training", "val": "validation", "test": "test"}


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
        classes + (f" ({', '.join(known)})" if known else ""),
    )


def describe_images(number: int, passed_over: Iterable[PassedOver], what: str = "") -> str:
    """The same of images of which no more is known, or what is said of them in words."""
    return f"data: {number:,} image{'s' * (number != 1)}{what}{say_passed_over(passed_over)}"

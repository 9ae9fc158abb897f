"""What a format says of itself: whether a data set is laid out so, and how to read each of its parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maxvit.data.dataset import LabelledImages

# from (whether masks are wanted, class names of a network or None) to the images of a part
Read = Callable[[bool, Sequence[str] | None], LabelledImages]


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out a data set.

    Attributes:
        name: In messages.
        holds: What such a data set holds, in messages.
        recognizes: Whether a folder or file looks so, at a glance; it raises nothing.
        find_parts: How to read "train", "val" and "test", those that there are, or "all". It is asked where
            `recognizes` says yes, and raises `MaxViTError` where something is missing; so does `Read`.
    """

    name: str
    holds: str
    recognizes: Callable[[Path], bool]
    find_parts: Callable[[Path], Mapping[str, Read]]

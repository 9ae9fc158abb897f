"""What a format says of itself: whether a data set is laid out so, and how to read each of its parts."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from maxvit.data.dataset import LabelledImages
from maxvit.data.parts import part_of

_LOOKED_AT, _BYTES = 5, 65536  # files of a folder, and of each its beginning

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


def glance(path: Path, ending: str, sign: re.Pattern[bytes]) -> bool:
    """Whether files of an ending, in a folder, its images/ or its parts, begin as those of a format do.

    A few files are looked at, and of those the beginning.
    """
    if not path.is_dir():
        return False
    folders = [path, *(below for below in sorted(path.iterdir()) if below.name == "images" or part_of(below.name))]
    return any(
        begins(file, sign)
        for folder in folders
        for file in islice((file for file in folder.glob(f"*{ending}") if file.is_file()), _LOOKED_AT)
    )


def begins(file: Path, sign: re.Pattern[bytes]) -> bool:
    """Whether the beginning of a file has a sign; not, if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return sign.search(opened.read(_BYTES)) is not None
    except OSError:
        return False

"""What a layout says of itself: where the parts of a data set are, and how their masks are to be understood."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maxvit.data.parts import part_of
from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.legend import Legend, find_legend
from maxvit.tasks.segmentation.pairs import Part

Parts = Mapping[str, Part]


@dataclass(frozen=True, slots=True)
class Layout:
    """A way to lay out a data set.

    Attributes:
        holds: What such a data set holds, in messages.
        find_parts: Where "train", "val" and "test" are, those that there are, or "all"; nothing, if a folder is not
            laid out so. It looks at a glance. A folder of masks may be missing. It raises `MaxViTError` if two folders
            are the same part.
        find_legend: What the masks mean, from the folder, the part that is learned from, and its masks. It raises
            `MaxViTError`.
    """

    holds: str
    find_parts: Callable[[Path], Parts]
    find_legend: Callable[[Path, Part, Sequence[Path]], Legend]


def by_files(path: Path, part: Part, masks: Sequence[Path]) -> Legend:
    """What files of names or colours say, in the folder or next to the images; else what the masks hold."""
    return find_legend([path, part.images], masks)


def folders_of_parts(folder: Path) -> Iterator[tuple[str, Path]]:
    """The folders below a folder that are called as a part is; nothing, if it does not exist."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (part := part_of(path.name)) and path.is_dir():
            yield part, path


def distinct(found: Sequence[tuple[str, Part]]) -> Parts:
    """The parts by their names, "train" first. Raises `MaxViTError` if one is there twice."""
    parts: dict[str, Part] = {}
    for name, part in found:
        if name in parts:
            raise MaxViTError(
                f"{parts[name].images} and {part.images} are both the {name} part: keep one, or join them"
            )
        parts[name] = part
    return {name: parts[name] for name in ("train", "val", "test") if name in parts}

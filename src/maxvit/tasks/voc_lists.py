"""The lists of Pascal VOC that say which images belong to a part."""

from pathlib import Path

from maxvit.data.parts import PART_NAMES, part_of
from maxvit.data.text import read_lines
from maxvit.errors import MaxViTError


def find_lists(folder: Path) -> dict[str, Path | None]:
    """The lists of "train", "val" and "test", those that there are; else of "all", where None stands for every image.

    Args:
        folder: ImageSets/Main, or its like; it need not exist.

    Raises:
        MaxViTError: If two lists are of the same part.
    """
    lists: dict[str, Path] = {}
    for file in sorted(folder.glob("*.txt")):
        name = part_of(file.stem) or file.stem
        if name in lists:
            raise MaxViTError(f"{lists[name]} and {file.name} both list the {name} part: keep one, or join them")
        lists[name] = file
    if not lists.keys() & {"train", "val"} and "trainval" in lists:
        lists["train"] = lists["trainval"]
    parts: dict[str, Path | None] = {part: lists[part] for part in PART_NAMES if part in lists}
    return parts or {"all": lists.get("default")}  # CVAT's name


def read_stems(file: Path) -> list[str]:
    """The images of a list, without their endings. Raises `MaxViTError` if there are none, or one comes twice."""
    found: dict[str, int] = {}
    for number, line in read_lines(file):
        stem = line.strip('"')
        if stem in found:
            raise MaxViTError(f"{file}, line {number} names {stem!r}, as line {found[stem]} does: keep one of them")
        found[stem] = number
    if not found:
        raise MaxViTError(f"{file} names no image: give a name a line, or remove it")
    return list(found)

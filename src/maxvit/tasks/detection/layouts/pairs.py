"""Formats that have a file of annotations for each image."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from maxvit.config import Size
from maxvit.data.dataset import LabelledImages
from maxvit.data.finding import DAMAGED, MISSING, PassedOver, find_images, normal
from maxvit.data.images import read_size
from maxvit.data.parts import part_folders
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.layouts.layout import Read
from maxvit.tasks.detection.shapes import Annotated, Shape, to_labelled

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Content:
    """What a file of annotations says.

    Attributes:
        size: (height, width) of its image; None: it does not say.
        shapes: The objects.
    """

    size: Size | None
    shapes: list[Shape]


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its annotations; None: there is no such file, and so there are no objects."""

    image: Path
    file: Path | None


Parse = Callable[[Path], Content]


def find_beside(path: Path, ending: str, parse: Parse) -> dict[str, Read]:
    """How to read the parts of a data set whose annotations are next to its images.

    Args:
        path: Holds images, or train/, val/ and so on, or either of them below images/.
        ending: Ending of a file of annotations.
        parse: What it says; it is called more than once for a file.

    Raises:
        MaxViTError: If two folders are the same part.
    """
    below = path / "images"
    parts = part_folders(path) or part_folders(below) or {"all": path}
    every = [file for folder in parts.values() for file in _files(folder, ending)]
    return {part: partial(_read_folder, folder, ending, parse, every) for part, folder in parts.items()}


def _files(folder: Path, ending: str) -> list[Path]:
    return sorted(file for file in folder.rglob(f"*{ending}") if not file.name.startswith("."))


def _read_folder(
    folder: Path,
    ending: str,
    parse: Parse,
    every: Sequence[Path],
    with_masks: bool,
    class_names: Sequence[str] | None,
) -> LabelledImages:
    found = find_images(folder)
    files = by_stem(_files(folder, ending), folder)
    pairs = [Pair(image, files.pop(stem, None)) for stem, image in by_stem(found.images, folder).items()]
    passed_over = [passed for passed in found.passed_over if passed.path.suffix != ending]
    passed_over += [PassedOver(file.with_suffix(""), MISSING) for file in files.values()]
    return read_pairs(folder, pairs, parse, every, with_masks, class_names, passed_over)


def by_stem(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Paths below a folder by what an image and its annotations have in common: the name without its ending.

    Raises:
        MaxViTError: If two have it in common.
    """
    found: dict[str, Path] = {}
    for path in paths:
        stem = normal(str(path.relative_to(folder).with_suffix("")))
        if stem in found:
            raise MaxViTError(f"{found[stem]} and {path.name} would have the same annotations: rename one with its own")
        found[stem] = path
    return found


def read_pairs(
    folder: Path,
    pairs: Sequence[Pair],
    parse: Parse,
    every: Iterable[Path],
    with_masks: bool,
    class_names: Sequence[str] | None,
    passed_over: Sequence[PassedOver],
) -> LabelledImages:
    """The images of a part.

    Args:
        folder: That the names of the images count from.
        pairs: Its images.
        parse: What a file says.
        every: The files of all parts, which define the classes: those that are found there, sorted.
        with_masks: Whether masks are wanted.
        class_names: Class names of a network; None: those that are found.
        passed_over: What was left out already.

    Raises:
        MaxViTError: As `parse` and `to_labelled`.
    """
    annotated, passed, without = [], list(passed_over), 0
    for pair in pairs:
        without += pair.file is None
        content = Content(None, []) if pair.file is None else parse(pair.file)
        try:
            size = content.size or read_size(pair.image)
        except MaxViTError:
            passed.append(PassedOver(pair.image, DAMAGED))
            continue
        annotated.append(Annotated(pair.image, str(pair.image.relative_to(folder)), size, content.shapes))
    if without:
        logger.warning("%s: %d images have no annotations: they are taken as images without objects", folder, without)
    files = every if class_names is None else [pair.file for pair in pairs if pair.file is not None]
    names = sorted({shape.name for file in files for shape in parse(file).shapes})
    return to_labelled(str(folder), annotated, names, with_masks, class_names, passed)

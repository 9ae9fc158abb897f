"""ADE20K as it is published for scene parsing: 0 is ignored, and class k is k - 1."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from maxvit.tasks.segmentation.layouts.layout import Layout, Parts
from maxvit.tasks.segmentation.legend import Legend, read_names
from maxvit.tasks.segmentation.masks import Key
from maxvit.tasks.segmentation.pairs import Part

_FOLDERS = {"train": "training", "val": "validation"}


def _find_parts(path: Path) -> Parts:
    return {
        part: Part(path / "images" / name, path / "annotations" / name)
        for part, name in _FOLDERS.items()
        if (path / "images" / name).is_dir()
    }


def _find_legend(path: Path, part: Part, masks: Sequence[Path]) -> Legend:
    return Legend(_names(path), partial(Key.of, zero_is_ignored=True), first=1)


def _names(path: Path) -> list[str] | None:
    """Those of classes.txt, else the first of the synonyms in the last column of ADE20K's own table."""
    if (path / "classes.txt").is_file():
        return read_names(path / "classes.txt")
    if (path / "objectInfo150.txt").is_file():
        return read_names(
            path / "objectInfo150.txt",
            lambda lines: [line.split("\t")[-1].split(",")[0].strip() for line in lines[1:]],
        )
    return None


LAYOUT = Layout("ADE20K's images/training and annotations/training", _find_parts, _find_legend)

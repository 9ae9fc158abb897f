"""COCO-Stuff's maps of pixels."""

from collections.abc import Sequence
from pathlib import Path

from maxvit.tasks.segmentation.layouts.layout import Layout, Parts
from maxvit.tasks.segmentation.legend import Legend, by_values, read_names
from maxvit.tasks.segmentation.pairs import Part


def _find_parts(path: Path) -> Parts:
    return {
        part: Part(path / "images" / name, _masks(path, name))
        for part, name in (("train", "train2017"), ("val", "val2017"))
        if (path / "images" / name).is_dir()
    }


def _masks(path: Path, name: str) -> Path:
    places = [path / "annotations" / name, path / "annotations" / "stuffthingmaps" / name]
    return next((place for place in places if place.is_dir()), places[0])


def _find_legend(path: Path, part: Part, masks: Sequence[Path]) -> Legend:
    """classes.txt, or COCO-Stuff's labels: "0: unlabeled", "1: person", ..., one above the masks' values."""
    names = None
    if (path / "classes.txt").is_file():
        names = read_names(path / "classes.txt")
    elif (path / "labels.txt").is_file():
        names = read_names(path / "labels.txt", lambda lines: [line.split(":", 1)[-1].strip() for line in lines[1:]])
    return by_values(names, masks)


LAYOUT = Layout("COCO-Stuff's images/train2017 and annotations/train2017", _find_parts, _find_legend)

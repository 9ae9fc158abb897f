"""Cityscapes' folders: masks of its 19 classes, or of all its labels, of which 19 are classes."""

from collections.abc import Sequence
from pathlib import Path

from maxvit.tasks.segmentation.layouts.layout import Layout, Parts, by_files
from maxvit.tasks.segmentation.legend import Legend
from maxvit.tasks.segmentation.masks import IGNORED, Key
from maxvit.tasks.segmentation.pairs import Part

_TRAIN_IDS, _LABEL_IDS = "_gtFine_labelTrainIds", "_gtFine_labelIds"
_LABELS = 34  # 0 to 33
# the classes in the order of their training ids, and the label id of each
_CLASSES = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}


def _find_parts(path: Path) -> Parts:
    """Without "test", whose published masks are empty."""
    images, masks = path / "leftImg8bit", path / "gtFine"
    suffix = _LABEL_IDS if masks.is_dir() and next(masks.rglob(f"*{_TRAIN_IDS}.png"), None) is None else _TRAIN_IDS
    return {
        part: Part(images / part, masks / part, image_suffixes=("_leftImg8bit",), mask_suffixes=(suffix,))
        for part in ("train", "val")
        if (images / part).is_dir()
    }


def _find_legend(path: Path, part: Part, masks: Sequence[Path]) -> Legend:
    """Files of names or colours come first, for other data in these folders."""
    legend = by_files(path, part, masks)
    if legend.names is not None:
        return legend
    if part.mask_suffixes == (_TRAIN_IDS,):
        return Legend(list(_CLASSES), lambda numbers: Key.of(numbers, zero_is_ignored=False))
    ignored = dict.fromkeys(range(_LABELS), IGNORED)
    return Legend(list(_CLASSES), lambda numbers: Key.at(ignored | dict(zip(_CLASSES.values(), numbers, strict=True))))


LAYOUT = Layout("Cityscapes' leftImg8bit and gtFine", _find_parts, _find_legend)

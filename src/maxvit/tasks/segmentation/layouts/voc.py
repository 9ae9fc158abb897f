"""Pascal VOC's folders, as VOC, CVAT and labelme's converter fill them."""

from collections.abc import Sequence
from pathlib import Path

from maxvit.tasks.segmentation.layouts.layout import Layout, Parts, by_files
from maxvit.tasks.segmentation.legend import Legend, by_values
from maxvit.tasks.segmentation.pairs import Part
from maxvit.tasks.voc_lists import find_lists

_AFTER_THE_CLASS = "_train"


def _find_parts(path: Path) -> Parts:
    masks = next(
        (path / name for name in ("SegmentationClassPNG", "SegmentationClass") if (path / name).is_dir()), None
    )
    images = path / "JPEGImages"
    if masks is None or not images.is_dir():
        return {}
    return {part: Part(images, masks, stems) for part, stems in find_lists(path / "ImageSets" / "Segmentation").items()}


def _find_legend(path: Path, part: Part, masks: Sequence[Path]) -> Legend:
    """A file of names or colours, else VOC's own classes, by its lists of the images of each: aeroplane_train.txt."""
    legend = by_files(path, part, masks)
    lists = (path / "ImageSets" / "Main").glob(f"*{_AFTER_THE_CLASS}.txt")
    classes = sorted(file.stem.removesuffix(_AFTER_THE_CLASS) for file in lists)
    return by_values(["background", *classes], masks) if legend.names is None and classes else legend


LAYOUT = Layout("Pascal VOC's JPEGImages, SegmentationClass and ImageSets/Segmentation", _find_parts, _find_legend)

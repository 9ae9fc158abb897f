"""Masks next to their images, as Roboflow exports them: x.jpg and x_mask.png."""

from pathlib import Path

from maxvit.data.images import EXTENSIONS
from maxvit.tasks.segmentation.layouts.layout import Layout, Parts, by_files, distinct, folders_of_parts
from maxvit.tasks.segmentation.legend import MASK_ENDINGS
from maxvit.tasks.segmentation.pairs import IMAGE_SUFFIXES, MASK_SUFFIXES, Part

_SUFFIXES = tuple(suffix for suffix in MASK_SUFFIXES if suffix)


def _find_parts(path: Path) -> Parts:
    parts = distinct([(name, _part(place)) for name, place in folders_of_parts(path) if _has_both(place)])
    return parts or ({"all": _part(path)} if _has_both(path) else {})


def _part(folder: Path) -> Part:
    return Part(folder, folder, mask_suffixes=_SUFFIXES)


def _has_both(folder: Path) -> bool:
    """Whether the name of one image goes on from that of another as a mask's does."""
    if not folder.is_dir():
        return False
    files = [file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS]
    images = {file.stem for file in files}
    masks = [file.stem for file in files if file.suffix.lower() in MASK_ENDINGS]
    return any(
        mask.endswith(suffix) and any(mask.removesuffix(suffix) + of_image in images for of_image in IMAGE_SUFFIXES)
        for mask in masks
        for suffix in _SUFFIXES
    )


LAYOUT = Layout("x.jpg next to x_mask.png, in one folder or in train, valid, test", _find_parts, by_files)

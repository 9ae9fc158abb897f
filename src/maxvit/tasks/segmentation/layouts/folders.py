"""Folders of images and folders of masks, called as people call them."""

from collections.abc import Sequence
from pathlib import Path

from maxvit.data.parts import part_of
from maxvit.tasks.segmentation.layouts.layout import Layout, Parts, by_files, distinct, folders_of_parts
from maxvit.tasks.segmentation.legend import MASK_ENDINGS
from maxvit.tasks.segmentation.pairs import Part

_IMAGES = ("images", "image", "imgs", "img")
_MASKS = ("masks", "mask", "labels", "label")
_BEHIND_IMAGES = ("_images", "_image", "_imgs", "_img")  # behind the name of a part
_BEHIND_MASKS = ("_masks", "_mask", "_labels", "_label", "annot")


def _first(places: Sequence[Path]) -> Path:
    """The first folder that holds masks; the first of all, where none does."""
    return next((place for place in places if _holds_masks(place)), places[0])


def _holds_masks(folder: Path) -> bool:
    """Not files of labels, as YOLO's format has them."""
    return folder.is_dir() and any(file.suffix.lower() in MASK_ENDINGS for file in folder.rglob("*"))


def _part_first(path: Path) -> Parts:
    return distinct([
        (name, Part(place / images, _first([place / masks for masks in _MASKS])))
        for name, place in folders_of_parts(path)
        for images in _IMAGES
        if (place / images).is_dir()
    ])  # fmt: skip


def _images_first(path: Path) -> Parts:
    return distinct([
        (name, Part(place, _first([path / folder / place.name for folder in masks])))
        for images, masks in (*((images, _MASKS) for images in _IMAGES), ("img_dir", ("ann_dir",)))
        for name, place in folders_of_parts(path / images)
    ])  # fmt: skip


def _side_by_side(path: Path) -> Parts:
    found = []
    for place in sorted(path.iterdir()) if path.is_dir() else []:
        called = next((place.name.removesuffix(s) for s in _BEHIND_IMAGES if place.name.endswith(s)), place.name)
        name = part_of(called)
        masks = _first([path / f"{called}{behind}" for behind in _BEHIND_MASKS])
        if name and place.is_dir() and masks.is_dir():
            found.append((name, Part(place, masks)))
    return distinct(found)


def _undivided(path: Path) -> Parts:
    """Unless the folders have parts."""
    images = next((path / name for name in _IMAGES if (path / name).is_dir()), None)
    if images is None or any(_holds_masks(part.masks) for part in _images_first(path).values()):
        return {}
    return {"all": Part(images, _first([path / masks for masks in _MASKS]))}


PART_FIRST = Layout("train/images and train/masks (or labels)", _part_first, by_files)
IMAGES_FIRST = Layout("images/train and masks/train (or labels, or img_dir and ann_dir)", _images_first, by_files)
SIDE_BY_SIDE = Layout("train and train_masks (or train_labels, trainannot)", _side_by_side, by_files)
UNDIVIDED = Layout("images and masks (or labels)", _undivided, by_files)

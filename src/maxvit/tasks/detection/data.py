"""A detection data set by its path, in whichever format it is laid out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maxvit.data.dataset import LabelledImages, Splits, draw_out
from maxvit.data.finding import name_some
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.layouts import coco, labelme, voc, yolo
from maxvit.tasks.detection.layouts.layout import Layout, Read

LAYOUTS: tuple[Layout, ...] = (coco.LAYOUT, yolo.LAYOUT, voc.LAYOUT, labelme.LAYOUT)


def load_splits(path: Path, val_fraction: float, seed: int, with_masks: bool) -> Splits:
    """Read a data set; where it has no part to choose the best epoch by, a share of its images is drawn for that.

    Raises:
        MaxViTError: If it is laid out in no known way or in two, something in it is missing or not of its kind, or
            there is nothing to learn.
    """
    parts = find_parts(path)
    first = next((part for part in ("train", "all") if part in parts), None)
    if first is None:
        raise MaxViTError(f"{path} has the parts {', '.join(parts)}, and none to learn from: add a part train")
    train = parts[first](with_masks, None)
    if all(objects.crowd.all() for objects in train.labels):
        raise MaxViTError(f"{path} has no object to learn from: add annotations")
    if "val" in parts:
        val = parts["val"](with_masks, train.class_names)
    elif len(train) < 2:
        raise MaxViTError(f"{path} has a single image; give at least two, so that one can be held out")
    else:
        train, val = draw_out(train, val_fraction, seed)
    test = parts["test"](with_masks, train.class_names) if "test" in parts else None
    return Splits(train, val, test)


def load_eval(path: Path, class_names: Sequence[str] | None, with_masks: bool) -> LabelledImages:
    """The images to evaluate a network on: the part "test", else "val", else all.

    Raises:
        MaxViTError: As `load_splits`.
    """
    parts = find_parts(path)
    part = next(name for name in ("test", "val", "train", "all") if name in parts)
    return replace(parts[part](with_masks, class_names), part="all" if part == "train" else part)


def read_parts(path: Path) -> dict[str, LabelledImages]:
    """Every image by part, "train", "val" and "test", or "all"; its objects without masks. Raises as `load_splits`."""
    return {name: replace(read(False, None), part=name) for name, read in find_parts(path).items()}


def recognizes(path: Path) -> bool:
    """Whether a folder or file looks like one of the formats, at a glance."""
    return any(layout.recognizes(path) for layout in LAYOUTS)


def find_parts(path: Path) -> Mapping[str, Read]:
    """How to read "train", "val" and "test", those that there are, or "all".

    Raises:
        MaxViTError: As `load_splits`.
    """
    found = [layout for layout in LAYOUTS if layout.recognizes(path)]
    if len(found) > 1:
        both = "; and ".join(f"{layout.name}: {layout.holds}" for layout in found)
        raise MaxViTError(
            f"{path} is laid out in {len(found)} ways ({both}): keep one of them in the folder, or give the file of "
            "annotations in place of the folder"
        )
    if found:
        return found[0].find_parts(path)
    if not path.is_dir():
        what = "is a file of another kind" if path.exists() else "does not exist"
        raise MaxViTError(f"{path} {what}: give a folder, a .json file of COCO's format or a data.yaml")
    known = "; ".join(f"{layout.name}: {layout.holds}" for layout in LAYOUTS)
    raise MaxViTError(
        f"{path} holds {name_some(path)}, which is not a layout of detection data that is read. These are: {known}. "
        "Give the files such names and places, or export the data in one of these formats (docs/detection.md)"
    )

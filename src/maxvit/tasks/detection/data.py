"""The parts of a data set: what to learn from, to choose by and to report on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maxvit.data.dataset import LabelledImages, Splits, draw_out
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.coco import find_parts, read_coco


def load_splits(path: Path, val_fraction: float, seed: int, with_masks: bool) -> Splits:
    """Read a data set; where it has no part to choose the best epoch by, a share of its images is drawn for that.

    Raises:
        MaxViTError: As `read_coco`, or if there is nothing to learn.
    """
    parts = find_parts(path)
    if "train" not in parts and "all" not in parts:
        raise MaxViTError(f"{path} has annotations of {', '.join(parts)}, and none to learn from: add instances_train")
    first = "train" if "train" in parts else "all"
    train = read_coco(*parts[first], with_masks)
    if all(objects.crowd.all() for objects in train.labels):
        raise MaxViTError(f"{parts[first][0]} has no object to learn from: add annotations")
    if "val" in parts:
        val = read_coco(*parts["val"], with_masks, train.class_names)
    elif len(train) < 2:
        raise MaxViTError(f"{parts[first][0]} has a single image; give at least two, so that one can be held out")
    else:
        train, val = draw_out(train, val_fraction, seed)
    test = read_coco(*parts["test"], with_masks, train.class_names) if "test" in parts else None
    return Splits(train, val, test)


def load_eval(path: Path, class_names: Sequence[str] | None, with_masks: bool) -> LabelledImages:
    """The images to evaluate a network on: the part "test", else "val", else all.

    Raises:
        MaxViTError: As `read_coco`.
    """
    parts = find_parts(path)
    part = next(name for name in ("test", "val", "train", "all") if name in parts)
    return replace(read_coco(*parts[part], with_masks, class_names), part="all" if part == "train" else part)

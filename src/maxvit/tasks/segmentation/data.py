"""A data set of images and masks by its path, in whichever way it is laid out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maxvit.data.dataset import LabelledImages, Splits, class_numbers, draw_out, refuse_unknown
from maxvit.data.finding import name_some, normal
from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.layouts import ade20k, beside, cityscapes, coco_stuff, folders, voc
from maxvit.tasks.segmentation.layouts.layout import Layout, Parts
from maxvit.tasks.segmentation.legend import Legend, count_classes
from maxvit.tasks.segmentation.pairs import Pairs, find_pairs

LAYOUTS: tuple[Layout, ...] = (
    folders.PART_FIRST,
    ade20k.LAYOUT,
    coco_stuff.LAYOUT,
    folders.IMAGES_FIRST,
    folders.SIDE_BY_SIDE,
    folders.UNDIVIDED,
    beside.LAYOUT,
    voc.LAYOUT,
    cityscapes.LAYOUT,
)


def load(path: Path, val_fraction: float, seed: int) -> Splits:
    """Read a data set of one of the layouts of docs/segmentation.md.

    Raises:
        MaxViTError: If a folder or a mask is missing, or the names of the classes cannot be told.
    """
    layout, parts = find_layout(path)
    if "train" not in parts and "all" not in parts:
        raise MaxViTError(f"{path} has the parts {', '.join(parts)}, and none to learn from: add a part train")
    pairs, legend, class_names = _read(path, layout, parts)
    key = legend.make_key(range(len(class_names)))
    train = pairs.labelled(key, class_names)
    if "val" in parts:
        val = find_pairs(parts["val"]).labelled(key, class_names)
    elif len(train) < 2:
        raise MaxViTError(f"{path} holds one image: add a second one, to choose the best epoch by")
    else:
        train, val = draw_out(train, val_fraction, seed)
    return Splits(train, val, find_pairs(parts["test"]).labelled(key, class_names) if "test" in parts else None)


def read_parts(path: Path) -> dict[str, LabelledImages]:
    """Every image with a mask by part, "train", "val" and "test", or "all". Raises as `load`."""
    layout, parts = find_layout(path)
    _, legend, class_names = _read(path, layout, parts)
    key = legend.make_key(range(len(class_names)))
    return {name: replace(find_pairs(part).labelled(key, class_names), part=name) for name, part in parts.items()}


def load_eval(path: Path, class_names: Sequence[str] | None) -> LabelledImages:
    """The test part, else the validation part, else all, with the classes numbered as a network has them.

    Raises:
        MaxViTError: As `load`, or if there is a class that the network lacks.
    """
    layout, parts = find_layout(path)
    pairs, legend, found = _read(path, layout, parts, class_names)
    class_names = found if class_names is None else class_names
    refuse_unknown(found, class_names, lambda name: f"{name!r} of {path}")
    numbers = class_numbers(class_names)
    key = legend.make_key([numbers[normal(name)] for name in found])
    part = next((name for name in ("test", "val") if name in parts), "all")
    chosen = find_pairs(parts[part]) if part != "all" else pairs
    return replace(chosen.labelled(key, class_names), part=part)


def _read(
    path: Path, layout: Layout, parts: Parts, class_names: Sequence[str] | None = None
) -> tuple[Pairs, Legend, list[str]]:
    """The part that is learned from, what its masks mean, and the classes.

    Where nothing names them, they are those of a network, or as many as the masks have values.
    """
    first = next(iter(parts.values()))
    pairs = find_pairs(first)
    legend = layout.find_legend(path, first, pairs.masks)
    if legend.names is not None:
        return pairs, legend, legend.names
    names = count_classes(path, first.masks, pairs.masks, legend) if class_names is None else list(class_names)
    return pairs, legend, names


def recognizes(path: Path) -> bool:
    """Whether a folder has images and masks as one of the layouts has them."""
    try:
        return any(_is_complete(layout.find_parts(path)) for layout in LAYOUTS)
    except MaxViTError:  # a part is there twice
        return True


def _is_complete(parts: Parts) -> bool:
    return any(part.masks.is_dir() for part in parts.values())


def find_layout(path: Path) -> tuple[Layout, Parts]:
    """How a folder is laid out, and where its parts are.

    Raises:
        MaxViTError: If it is laid out in no known way, in two, or without masks.
    """
    if not path.is_dir():
        what = "is a file: give the folder of images and masks" if path.exists() else "does not exist: check the path"
        raise MaxViTError(f"{path} {what}")
    found = [(layout, parts) for layout in LAYOUTS if (parts := layout.find_parts(path))]
    complete = [(layout, parts) for layout, parts in found if _is_complete(parts)]
    if len(complete) > 1:
        both = "; and ".join(layout.holds for layout, _ in complete)
        raise MaxViTError(f"{path} is laid out in {len(complete)} ways ({both}): keep one of them in the folder")
    if complete or found:
        return (complete or found)[0]
    known = "; ".join(layout.holds for layout in LAYOUTS)
    raise MaxViTError(
        f"{path} holds {name_some(path)}, which is not a layout of images and masks that is read. It takes {known}. "
        "Give the folders such names (docs/segmentation.md)"
    )

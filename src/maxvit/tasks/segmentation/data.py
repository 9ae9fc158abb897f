"""Data sets of images and masks: a folder of your own, ADE20K, COCO-Stuff."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from maxvit.data.dataset import LabelledImages, Splits, class_numbers, draw_out, refuse_unknown
from maxvit.data.finding import NO_MASK, PassedOver, find_images, normal, say_passed_over
from maxvit.errors import MaxViTError
from maxvit.tasks.segmentation.masks import IGNORED, Key, MaskFile, read_values


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the parts of a data set are: folders of images, and of each the folders that may hold its masks."""

    train: tuple[str, ...]  # the images' folder, then the masks'
    val: tuple[tuple[str, ...], ...]
    test: tuple[str, ...] | None = None
    zero_is_ignored: bool = False
    names: str | None = None  # a file of names in the data set's own form, where there is no classes.txt


SAMPLE = 50  # masks that are looked at before a run
_OWN = _Layout(
    train=("train/images", "train/masks"),
    val=tuple((f"{name}/images", f"{name}/masks") for name in ("val", "valid", "validation")),
    test=("test/images", "test/masks"),
)
_ADE20K = _Layout(
    train=("images/training", "annotations/training"),
    val=(("images/validation", "annotations/validation"),),
    zero_is_ignored=True,
    names="objectInfo150.txt",
)
_COCO_STUFF = _Layout(
    train=("images/train2017", "annotations/train2017", "annotations/stuffthingmaps/train2017"),
    val=(("images/val2017", "annotations/val2017", "annotations/stuffthingmaps/val2017"),),
    names="labels.txt",
)
_UNSPLIT = _Layout(train=("images", "masks"), val=())
_LAYOUTS = (_OWN, _ADE20K, _COCO_STUFF, _UNSPLIT)


def load(path: Path, val_fraction: float, seed: int) -> Splits:
    """Read a data set of one of the layouts of docs/segmentation.md.

    Raises:
        MaxViTError: If a folder or a mask is missing, or the names of the classes cannot be told.
    """
    layout = _find_layout(path)
    class_names = _class_names(path, layout)
    key = Key.of(range(len(class_names)), layout.zero_is_ignored)
    train = _pair(path, layout.train, key, class_names)
    val = next((_pair(path, part, key, class_names) for part in layout.val if (path / part[0]).is_dir()), None)
    if val is None:
        if len(train) < 2:
            raise MaxViTError(
                f"{path / layout.train[0]} holds one image: add a second one, to choose the best epoch by"
            )
        train, val = draw_out(train, val_fraction, seed)
    has_test = layout.test is not None and (path / layout.test[0]).is_dir()
    return Splits(train, val, _pair(path, layout.test, key, class_names) if layout.test and has_test else None)


def load_eval(path: Path, class_names: Sequence[str] | None) -> LabelledImages:
    """The test part, else the validation part, else all, with the classes numbered as a network has them.

    Raises:
        MaxViTError: As `load`, or if there is a class that the network lacks.
    """
    layout = _find_layout(path)
    found = _named_classes(path, layout)
    class_names = _class_names(path, layout) if class_names is None else class_names
    if found is None:  # the masks hold indices, and no more is said
        found = list(class_names)
    refuse_unknown(found, class_names, lambda name: f"{name!r} of {path}")
    numbers = class_numbers(class_names)
    key = Key.of([numbers[normal(name)] for name in found], layout.zero_is_ignored)
    parts = [("test", part) for part in [layout.test] if part] + [("val", part) for part in layout.val]
    name, part = next(((name, part) for name, part in parts if (path / part[0]).is_dir()), ("all", layout.train))
    return replace(_pair(path, part, key, list(class_names)), part=name)


def recognizes(path: Path) -> bool:
    """Whether a folder has images and masks as one of the layouts has them."""
    return any(
        (path / layout.train[0]).is_dir() and any((path / masks).is_dir() for masks in layout.train[1:])
        for layout in _LAYOUTS
    )


def _find_layout(path: Path) -> _Layout:
    """By the folder of images that it has."""
    if not path.is_dir():
        raise MaxViTError(f"{path} is a file, and a folder is wanted" if path.exists() else f"{path} does not exist")
    for layout in _LAYOUTS:
        if (path / layout.train[0]).is_dir():
            return layout
    raise MaxViTError(
        f"{path} holds no images with masks: it takes train/images and train/masks, or images and masks, "
        "or the folders of ADE20K or COCO-Stuff (docs/segmentation.md)"
    )


def _pair(path: Path, part: Sequence[str], key: Key, class_names: list[str]) -> LabelledImages:
    """Every image of a folder with the mask of its name."""
    images_folder = path / part[0]
    masks_folder = _masks_folder(path, part)
    found = find_images(images_folder)
    if not found.images:
        why = say_passed_over(found.passed_over)
        raise MaxViTError(f"{images_folder} holds no images: fill it or remove it{why}")
    masks = {_stem(mask, masks_folder): mask for mask in _masks(masks_folder)}
    stems = [_stem(image, images_folder) for image in found.images]
    pairs = [(image, masks[stem]) for stem, image in zip(stems, found.images, strict=True) if stem in masks]
    if not pairs:
        first = found.images[0]
        wanted = masks_folder / first.relative_to(images_folder).with_suffix(".png")
        raise MaxViTError(f"no image of {images_folder} has a mask; {first} takes {wanted}: give masks such names")
    passed_over = [
        *found.passed_over,
        *(PassedOver(i, NO_MASK) for stem, i in zip(stems, found.images, strict=True) if stem not in masks),
        *(PassedOver(masks[stem], "without an image") for stem in sorted(masks.keys() - set(stems))),
    ]
    names = [str(image.relative_to(images_folder)) for image, _ in pairs]
    files = [MaskFile(mask, key) for _, mask in pairs]
    return LabelledImages([image for image, _ in pairs], files, class_names, names, passed_over=passed_over)


def _masks(folder: Path) -> list[Path]:
    """Every PNG below a folder, in order of name."""
    return [path for path in find_images(folder).images if path.suffix.lower() == ".png"]


def _stem(path: Path, folder: Path) -> str:
    """What an image and its mask have in common."""
    return normal(str(path.relative_to(folder).with_suffix("")))


def _masks_folder(path: Path, part: Sequence[str]) -> Path:
    """The first of a part's folders of masks that is there."""
    for name in part[1:]:
        if (path / name).is_dir():
            return path / name
    raise MaxViTError(f"{path / part[0]} has no masks: the folder {path / part[1]} does not exist")


def _class_names(path: Path, layout: _Layout) -> list[str]:
    """From a file, else "class 0", ... up to the highest value of the training masks."""
    named = _named_classes(path, layout)
    folder = _masks_folder(path, layout.train)
    masks = _masks(folder)
    if not masks:
        raise MaxViTError(f"{folder} holds no masks (.png): fill it")
    values = _values(masks if named is None else masks[:SAMPLE])
    if named is not None:
        if values == {0, IGNORED}:
            raise MaxViTError(
                f"the masks of {folder} hold 0 and 255 alone, and 255 is ignored: masks in black and white take 0 and 1"
            )
        return named
    first = 1 if layout.zero_is_ignored else 0
    classes = sorted(value for value in values - {IGNORED} if value >= first)
    if len(classes) < 2:
        raise MaxViTError(
            f"the masks of {folder} have {len(classes)} class{'es' * (not classes)} other than what is ignored, and "
            "two are wanted: 255 is ignored, so masks in black and white take 0 and 1"
        )
    if classes[-1] - first >= len(classes):
        gap = next(value for value in range(first, IGNORED) if value not in classes)
        few = ", ".join(map(str, classes[:6])) + ", ..." * (len(classes) > 6)
        raise MaxViTError(
            f"the masks of {folder} hold the values {few}, and no {gap}, so the number of classes is not clear: give "
            f"the classes the values {first}, {first + 1}, ... without a gap, or name all in {path / 'classes.txt'}, a "
            "line for each value, also for those that no mask holds"
        )
    return [f"class {i}" for i in range(len(classes))]


def _values(masks: Sequence[Path]) -> set[int]:
    """That masks hold; one that cannot be read is named when its turn comes. Raises `MaxViTError` if none can be."""
    values: set[int] = set()
    problems = []
    for mask in masks:
        try:
            values |= {int(value) for value in np.unique(read_values(mask))}
        except MaxViTError as error:
            problems.append(error)
    if len(problems) == len(masks):
        raise problems[0]
    return values


def _named_classes(path: Path, layout: _Layout) -> list[str] | None:
    """The classes in the file of names that the data set has; None: it has none."""
    files = [path / name for name in ("classes.txt", layout.names) if name]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    try:
        lines = [line.strip() for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise MaxViTError(f"{file} cannot be read as text: {error}") from error
    if file.name == "objectInfo150.txt":  # a heading, then columns of which the last holds synonyms
        names = [line.split("\t")[-1].split(",")[0].strip() for line in lines[1:]]
    elif file.name == "labels.txt":  # COCO-Stuff's: "0: unlabeled", "1: person", ..., one above the masks' values
        names = [line.split(":", 1)[-1].strip() for line in lines[1:]]
    else:
        names = lines
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MaxViTError(f"{file} names {twice[0]!r} twice: give each class a name of its own")
    if not 2 <= len(names) < IGNORED:
        raise MaxViTError(f"{file} names {len(names)} classes; it takes 2 to 254, one a line, in order of their values")
    return names

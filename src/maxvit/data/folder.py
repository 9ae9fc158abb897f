"""A folder with one folder of images per class, split already or not."""

import os
from dataclasses import replace
from pathlib import Path

from maxvit.data.dataset import LabelledImages, Splits, class_numbers, refuse_unknown, split
from maxvit.data.finding import PassedOver, find_images, normal, say_passed_over
from maxvit.data.images import EXTENSIONS
from maxvit.data.parts import PART_NAMES, part_of
from maxvit.data.rows import KINDS
from maxvit.errors import MaxViTError


def load_folder(folder: Path, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Read a data set: FOLDER/CLASS/*.jpg, or FOLDER/{train,val[,test]}/CLASS/*.jpg.

    Args:
        folder: The data set.
        val_fraction: Share that is held out where the folder has no `val` of its own.
        seed: Seed of that split.

    Raises:
        MaxViTError: If the folder is missing or empty, has one class or an empty one, or parts that are not clear.
    """
    parts = find_parts(folder)
    if not parts:
        return Splits(*split(read_classes(folder), val_fraction, seed))
    if "train" not in parts:
        names = " and ".join(path.name for path in parts.values())
        raise MaxViTError(f"{folder} has {names}, and no part to learn from: add a folder train")
    train = read_classes(parts["train"], part="train")
    others = [PassedOver(p, "next to the parts") for p in _folders(folder) if p not in parts.values()]
    train = replace(train, passed_over=[*train.passed_over, *(p for p in others if find_images(p.path).images)])
    if "val" in parts:
        val = read_classes(parts["val"], train.class_names, "val", whose=str(parts["train"]))
    else:
        train, val = split(train, val_fraction, seed)
    if "test" not in parts:
        return Splits(train, val)
    return Splits(train, val, read_classes(parts["test"], train.class_names, "test", whose=str(parts["train"])))


def find_parts(folder: Path) -> dict[str, Path]:
    """The folders "train", "val" and "test" of a data set that is split, by their usual names in any case.

    Its structure decides, for a class may be called "train" too: that one holds images, a part holds class folders.

    Returns:
        Those that there are; none, if the data set is not split.

    Raises:
        MaxViTError: If the folder is missing; if two folders are the same part; if another folder looks like a part.
    """
    folders = _folders(_check_folder(folder))
    named: dict[str, list[Path]] = {}
    for path in folders:
        if part := part_of(path.name):
            named.setdefault(part, []).append(path)
    others = [path for path in folders if part_of(path.name) is None]
    deciding = named.get("train", []) if others else [path for paths in named.values() for path in paths]
    if not any(_holds_folders(path) for path in deciding):
        return {}
    for part, paths in named.items():
        if len(paths) > 1:
            both = " and ".join(path.name for path in paths)
            raise MaxViTError(f"{both} of {folder} are both names of the {part} part: keep one, or join them")
    for path in others:
        if _holds_folders(path) and find_images(path).images:
            raise MaxViTError(
                f"{path} holds folders of images, as the part {deciding[0].name} next to it does: rename {path.name} "
                "to val or test, or move it elsewhere"
            )
    return {part: named[part][0] for part in PART_NAMES if part in named}


def read_held_out(folder: Path, class_names: list[str] | None) -> LabelledImages:
    """The images to evaluate a model on: those of `test`, else `val`, of a folder that is split; else all of it.

    Raises:
        MaxViTError: As `find_parts` and `read_classes`.
    """
    parts = find_parts(folder)
    name = next((name for name in ("test", "val") if name in parts), "all")
    return read_classes(parts.get(name) or parts.get("train", folder), class_names, name)


def read_classes(
    folder: Path, class_names: list[str] | None = None, part: str = "all", whose: str = "the model"
) -> LabelledImages:
    """Every image of every class folder.

    Args:
        folder: Holds a folder per class.
        class_names: The classes that a model knows: the folders must be among them. None: the folders define them.
        part: What the folder is of the data set.
        whose: What to call what has `class_names`, in messages.

    Raises:
        MaxViTError: If the folder is missing or empty, has an empty class, one class only, or one the model lacks.
    """
    folders = _folders(_check_folder(folder))
    wanted = f"{folder} must hold a folder of images for each class, such as {folder}/cat and {folder}/dog"
    lists = sorted(p for p in folder.iterdir() if p.suffix.lower() in KINDS and p.is_file())
    instead = f"; it holds the list {lists[0].name}: give {lists[0]} to read that" if lists else ""
    if not folders:
        what = "only loose files" if any(folder.iterdir()) else "nothing"
        raise MaxViTError(f"{wanted}; it holds {what}{instead}")
    if class_names is None:
        class_names = sorted({normal(p.name) for p in folders})
        if len(class_names) == 1:
            below = f", or give {folders[0]}, which holds folders" if _holds_folders(folders[0]) else ""
            raise MaxViTError(
                f"{wanted}; it holds one class only, {folders[0].name!r}: add a second one{below}{instead}"
            )
        if all(part_of(p.name) for p in folders):
            names = " and ".join(p.name for p in folders)
            raise MaxViTError(
                f"{names} of {folder} look like parts of the data, and none holds class folders: put the images of "
                f"each class into a folder, such as {folders[0]}/cat"
            )
    else:
        refuse_unknown([p.name for p in folders], class_names, lambda name: str(folder / name), whose)
    numbers = class_numbers(class_names)
    sources: list[Path] = []
    labels: list[int] = []
    loose = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in EXTENSIONS and p.is_file()]
    passed_over = [PassedOver(p, "in no class folder") for p in loose if not p.name.startswith(".")]
    passed_over += [PassedOver(p, "list, which is read where its path is given") for p in lists]
    for class_folder in folders:
        found = find_images(class_folder)
        if not found.images:
            why = say_passed_over(found.passed_over)
            raise MaxViTError(f"class folder {class_folder} holds no images: fill it or remove it{why}")
        sources += found.images
        passed_over += found.passed_over
        labels += [numbers[normal(class_folder.name)]] * len(found.images)
    called = [str(p.relative_to(folder)) for p in sources]
    return LabelledImages(sources, labels, class_names, called, part=part, passed_over=passed_over)


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _holds_folders(folder: Path) -> bool:
    """Whether it holds folders, and no image of its own: as a part does, and no class."""
    found = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                found |= entry.is_dir()
                if Path(entry.name).suffix.lower() in EXTENSIONS:
                    return False
    return found


def _check_folder(folder: Path) -> Path:
    if not folder.exists():
        raise MaxViTError(f"{folder} does not exist: check the path")
    if not folder.is_dir():
        instead = {".zip": "; unpack it first", ".xlsx": "; save the sheet as .csv"}.get(folder.suffix.lower(), "")
        raise MaxViTError(
            f"{folder} is a file: give a folder that holds a folder of images for each class, or a list "
            f"({', '.join(KINDS)}){instead}"
        )
    return folder

"""A folder with one folder of images per class, split already or not."""

from pathlib import Path

from maxvit.data.images import find_images
from maxvit.data.labelled import LabelledImages, Splits, refuse_unknown, split
from maxvit.errors import MaxViTError

_VAL_NAMES = ("val", "valid", "validation")
_PARTS = {"train", "training", "test", "testing", *_VAL_NAMES}


def load_folder(folder: Path, val_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Read a data set: FOLDER/CLASS/*.jpg, or FOLDER/{train,val[,test]}/CLASS/*.jpg.

    Args:
        folder: The data set.
        val_fraction: Share that is held out where the folder has no `val` of its own.
        seed: Of that split.

    Raises:
        MaxViTError: If the folder is missing or empty, or has one class or an empty one.
    """
    if not (_check_folder(folder) / "train").is_dir():
        train, val = split(read_classes(folder), val_fraction, seed)
        return Splits(train, val)
    train = read_classes(folder / "train")
    found = [folder / name for name in _VAL_NAMES if (folder / name).is_dir()]
    if found:
        val = read_classes(found[0], train.class_names)
    else:
        train, val = split(train, val_fraction, seed)
    test = read_classes(folder / "test", train.class_names) if (folder / "test").is_dir() else None
    return Splits(train, val, test)


def held_out_folder(folder: Path) -> Path:
    """Where the images to judge a model by lie: `test`, else `val`, of a folder that is split; else all of it."""
    if (folder / "train").is_dir():
        for name in ("test", *_VAL_NAMES):
            if (folder / name).is_dir():
                return folder / name
    return folder


def read_classes(folder: Path, class_names: list[str] | None = None) -> LabelledImages:
    """Every image of every class folder.

    Args:
        folder: Holds a folder per class.
        class_names: The classes that a model knows: the folders must be among them. None: the folders define them.

    Raises:
        MaxViTError: If the folder is missing or empty, has an empty class, one class only, or one the model lacks.
    """
    folders = sorted(p for p in _check_folder(folder).iterdir() if p.is_dir() and not p.name.startswith("."))
    wanted = f"{folder} must hold a folder of images for each class, such as {folder}/cat and {folder}/dog"
    if not folders:
        what = "only loose files" if any(folder.iterdir()) else "nothing"
        raise MaxViTError(f"{wanted}; it holds {what}")
    if class_names is None:
        if len(folders) == 1:
            raise MaxViTError(f"{wanted}; it holds one class only, {folders[0].name!r}: add a second one")
        if all(p.name.lower() in _PARTS for p in folders):
            names = " and ".join(p.name for p in folders)
            raise MaxViTError(f"{names} of {folder} look like parts of the data: rename them to train, val and test")
        class_names = [p.name for p in folders]
    else:
        refuse_unknown([p.name for p in folders], class_names, lambda name: str(folder / name))
    sources: list[Path] = []
    labels: list[int] = []
    for class_folder in folders:
        images = find_images(class_folder)
        if not images:
            raise MaxViTError(f"class folder {class_folder} holds no images: fill it or remove it")
        sources += images
        labels += [class_names.index(class_folder.name)] * len(images)
    return LabelledImages(sources, labels, class_names, [str(p.relative_to(folder)) for p in sources])


def _check_folder(folder: Path) -> Path:
    if not folder.exists():
        raise MaxViTError(f"{folder} does not exist: check the path")
    if not folder.is_dir():
        raise MaxViTError(f"{folder} is a file, and a folder with one folder of images per class is wanted")
    return folder

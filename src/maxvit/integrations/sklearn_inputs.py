"""What scikit-learn hands to an estimator: images and their classes, checked, and as a list that training reads."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from maxvit.data.depth import is_deep
from maxvit.data.finding import normal
from maxvit.data.images import decode
from maxvit.errors import MaxViTError

Classes = npt.NDArray[Any]
FORMS = "paths, PIL images, arrays (H, W) or (H, W, 3), or one array (N, H, W) or (N, H, W, 3)"


def images_of(X: Any) -> list[Any]:
    """Each image of X: a path, a PIL image or an array.

    Raises:
        MaxViTError: If X is one image, or its shape or type is not of images.
    """
    if isinstance(X, str | Path | bytes | Image.Image):
        raise MaxViTError(f"X is one {type(X).__name__}, and takes several images: put it into a list")
    if not hasattr(X, "__len__"):
        raise MaxViTError(f"X is a {type(X).__name__}; it takes {FORMS}")
    if isinstance(X, np.ndarray):
        _check_shape(X)
    images = list(X)
    if not images:
        raise MaxViTError("X holds no image; give at least one")
    for i, image in enumerate(images):
        if not isinstance(image, str | Path | Image.Image | np.ndarray):
            raise MaxViTError(f"X[{i}] is a {type(image).__name__}; X takes {FORMS}")
        if isinstance(image, str | Path) and not Path(image).is_file():
            raise MaxViTError(f"X[{i}] is {str(image)!r}, which is not a file: check the path")
    return images


def _check_shape(X: npt.NDArray[Any]) -> None:
    """Refuse an array that is not one of images, or is one image."""
    shape = X.shape
    if X.dtype.kind in "OU" and X.ndim == 1:
        return
    if X.ndim == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4):
        raise MaxViTError(f"X has shape {shape}, which looks like (N, C, H, W): give X.transpose(0, 2, 3, 1)")
    if X.ndim == 3 and shape[2] in (3, 4):
        raise MaxViTError(f"X has shape {shape}, which looks like one image: give X[None]")
    if X.ndim not in (3, 4) or X.dtype.kind not in "buif":
        hint = "; reshape rows of pixels to (N, H, W)" if X.ndim == 2 else ""
        raise MaxViTError(f"X is an array of {X.dtype} with shape {shape}; it takes {FORMS}{hint}")


def class_names(classes: Classes) -> list[str]:
    """What a checkpoint calls the classes.

    Raises:
        MaxViTError: If there is one only, or two have the same name.
    """
    names = [normal(str(name).strip()) for name in classes]
    if len(names) < 2:
        raise MaxViTError(f"y has one class only, {names[0]!r}: give images of a second one")
    if len(set(names)) < len(names) or "" in names:
        raise MaxViTError(f"classes of y cannot be told apart by name, or have none: {names[:12]}; rename them")
    return names


def write_list(images: Sequence[Any], names: Sequence[str], folder: Path) -> Path:
    """Write a list for training: files where they are, other images as files in a folder.

    Args:
        images: As `images_of` gives them.
        names: The class of each.
        folder: It is there.

    Returns:
        The list.
    """
    seen: set[Path] = set()
    with (folder / "list.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label"])
        for i, (image, name) in enumerate(zip(images, names, strict=True)):
            path = Path(image).absolute() if isinstance(image, str | Path) else folder / f"{i}.npy"
            if isinstance(image, np.ndarray):
                np.save(path, image)
            elif isinstance(image, Image.Image):
                np.save(path, np.asarray(image if is_deep(image) else decode(image)))
            elif path in seen:  # drawn twice, and a list names an image once
                path = Path(shutil.copy(path, folder / f"{i}{path.suffix}"))
            seen.add(path)
            rows.writerow([path, name])
    return folder / "list.csv"

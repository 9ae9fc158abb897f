"""Small data sets of images and masks."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([(200, 50, 40), (40, 180, 60), (40, 60, 200)], np.uint8)  # of each class


def write_pair(image: Path, mask: Path, classes: np.ndarray, shift: int = 0) -> None:
    """A picture whose colours are its classes, and its mask; 255 is black in the picture."""
    image.parent.mkdir(parents=True, exist_ok=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    known = classes != 255
    pixels = np.where(known[..., None], COLOURS[np.where(known, classes, 0)], 0).astype(np.uint8)
    Image.fromarray(pixels).save(image)
    Image.fromarray(np.where(known, classes + shift, 255 if not shift else 0).astype(np.uint8)).save(mask)


def some_classes(seed: int, size: tuple[int, int] = (37, 29)) -> np.ndarray:
    """Three upright stripes of classes, and a row of ignored pixels."""
    classes = np.zeros(size, np.uint8)
    classes[:, 8 + seed % 3 :] = 1
    classes[:, 18 + seed % 5 :] = 2
    classes[0] = 255
    return classes


def write_folder(folder: Path, images: str, masks: str, number: int = 3, shift: int = 0) -> Path:
    """FOLDER/IMAGES/*.png and FOLDER/MASKS/*.png."""
    for i in range(number):
        write_pair(folder / images / f"{i}.png", folder / masks / f"{i}.png", some_classes(i), shift)
    return folder

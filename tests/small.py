"""A data set and a recipe that train in seconds."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 50, 40)}
SETTINGS = [
    "model.name=maxvit_micro",
    "model.probe=false",
    "data.image_size=32",
    "data.batch_size=8",
    "task.augmentation=characters",
    "optimization.epochs=2",
    "optimization.warmup_epochs=0",
    "optimization.metric=null",
]


def write_images(folder: Path, number: int = 8) -> Path:
    """FOLDER/CLASS/*.png, each class of another colour."""
    random = np.random.default_rng(0)
    for name, colour in CLASSES.items():
        (folder / name).mkdir(parents=True)
        for i in range(number):
            pixels = np.clip(np.array(colour) + random.integers(-30, 31, (37, 29, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def write_truncated_jpeg(path: Path) -> Path:
    """The first half of a photograph."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path

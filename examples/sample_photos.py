"""Make a small data set of real photographs: crops of the pictures that ship with scikit-learn and scikit-image.

    pip install scikit-image
    python examples/sample_photos.py FOLDER
    maxvit train FOLDER
    maxvit predict runs/FOLDER/best.safetensors FOLDER/fresh

Each picture is a class; its left part is cut into crops to learn from, its right part into fresh ones to predict.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from maxvit.data.images import decode

SIDE = 96  # pixels of a crop
PICTURES = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "immunohistochemistry", "rocket")


def load_pictures() -> dict[str, Image.Image]:
    """The pictures, RGB, by name."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    pictures = {}
    for name in PICTURES:
        try:
            pictures[name] = decode(np.asarray(getattr(data, name)()))
        except Exception as error:  # some releases download some pictures instead of shipping them
            print(f"left out {name}: {error}", file=sys.stderr)
    china, flower = load_sample_images().images
    return {**pictures, "china": decode(china), "flower": decode(flower)}


def save_crops(folder: Path, crops: int = 40, seed: int = 0) -> None:
    """Write FOLDER/train/CLASS/*.jpg from the left two thirds, and FOLDER/fresh/CLASS.jpg from the rest."""
    random = np.random.default_rng(seed)
    for name, picture in load_pictures().items():
        width, height = picture.size
        border = width * 2 // 3
        places = [(random.integers(border - SIDE), random.integers(height - SIDE)) for _ in range(crops)]
        for i, (left, top) in enumerate(places):
            save(picture, int(left), int(top), folder / "train" / name / f"{i:03d}.jpg")
        save(picture, border + (width - border - SIDE) // 2, (height - SIDE) // 2, folder / "fresh" / f"{name}.jpg")


def save(picture: Image.Image, left: int, top: int, path: Path) -> None:
    """One crop as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.crop((left, top, left + SIDE, top + SIDE)).save(path, quality=95)


if __name__ == "__main__":
    save_crops(Path(sys.argv[1]))

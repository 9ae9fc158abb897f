"""Pictures that are all different."""

import numpy as np
from PIL import Image


def draw(path, seed, size=(61, 47)):
    """Blobs of colour, different for each seed."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path)
    return path

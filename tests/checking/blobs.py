"""Pictures that are all different and have something to compare, and copies of them."""

import io

import numpy as np
from PIL import Image

SIZE = 61, 47  # (width, height), as Pillow has it


def picture(seed: int) -> Image.Image:
    """Blobs of colour."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    return Image.fromarray(colours).resize(SIZE, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def write(path, image: Image.Image, **options: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path

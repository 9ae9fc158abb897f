"""Decode anything that a person would call an image, as a person sees it: upright, RGB, 8 bits."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from maxvit.errors import MaxViTError

ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.generic]

# what a folder of images is searched for; a single file is opened whatever its name
_COMMON = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_RARE = (".jpe", ".jfif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico")
EXTENSIONS = frozenset((*_COMMON, *_RARE))

# what Pillow's decoders raise on damaged files
DAMAGED = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    RuntimeError,
    AttributeError,
    struct.error,
)


def decode(source: ImageLike) -> Image.Image:
    """Read one image.

    Rotated by its EXIF tag, transparency laid over white, 16-bit values scaled to 8, palette, grey and CMYK
    converted; of an animation the first frame.

    Args:
        source: A path, the bytes of a file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4):
            bool, uint8, uint16, or float in 0..1.

    Returns:
        An RGB image.

    Raises:
        MaxViTError: If it is no image, or damaged, or too large to be a picture.
    """
    with opened(source) as image:
        return upright(image)


@contextmanager
def opened(source: ImageLike) -> Iterator[Image.Image]:
    """The image as it is stored; of a file no pixel has been read yet.

    Raises:
        MaxViTError: If it is no image; and, in place of what Pillow raises while it is open, if it is damaged.
    """
    if isinstance(source, np.ndarray):
        yield _from_array(source)
        return
    if not isinstance(source, str | Path | bytes | Image.Image):
        raise MaxViTError(f"a {type(source).__name__} is no image; give a path, bytes, a PIL image or an array")
    name = str(source) if isinstance(source, str | Path) else "the data"
    try:
        if isinstance(source, Image.Image):
            yield source
        else:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                yield image
    except FileNotFoundError as error:
        raise MaxViTError(f"{name} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise MaxViTError(f"{name} is a folder, and an image file is wanted") from error
    except UnidentifiedImageError as error:
        raise MaxViTError(f"{name} is not an image that can be read") from error
    except (PermissionError, NotADirectoryError) as error:
        raise MaxViTError(f"{name} cannot be opened: {error.strerror}") from error
    except Image.DecompressionBombError as error:
        raise MaxViTError(f"{name} has too many pixels to be a picture: {error}") from error
    except DAMAGED as error:
        raise MaxViTError(f"{name} is damaged: {error}") from error


def read_size(source: ImageLike) -> tuple[int, int]:
    """(height, width) of an image as a person sees it; of a file only the header is read.

    Raises:
        MaxViTError: If it is no image.
    """
    if isinstance(source, np.ndarray):
        return source.shape[0], source.shape[1]
    if isinstance(source, Image.Image):
        return upright_size(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return upright_size(image)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise MaxViTError(f"the size of {source!s:.200} cannot be read: {error}") from error


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) that `upright` will give."""
    if image.format == "TIFF":  # of which some Pillow versions turn the size on opening, and others on loading
        image = ImageOps.exif_transpose(image)
        return image.height, image.width
    turned = orientation(image) in (5, 6, 7, 8)
    return (image.width, image.height) if turned else (image.height, image.width)


def orientation(image: Image.Image) -> int:
    """How an image is to be turned, by its EXIF tag: 1 to 8; 1, as it is, where the tags are damaged."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except (struct.error, SyntaxError, ValueError, TypeError, KeyError, OSError):
        return 1
    return found if type(found) is int and 1 <= found <= 8 else 1


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise MaxViTError(f"an array of shape {array.shape} is no image; give (H, W), (H, W, 3) or (H, W, 4)")
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)  # as of a 16-bit file
    elif np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MaxViTError("a float array must hold values in 0..1; scale it, or give uint8")
        array = np.rint(array * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise MaxViTError(f"an array of {array.dtype} is no image; give bool, uint8, uint16 or float in 0..1")
    return Image.fromarray(array)


def upright(image: Image.Image) -> Image.Image:
    """As a person sees it: turned by its EXIF tag, without transparency, in 8-bit RGB."""
    image.load()
    if orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_8_bits(image: Image.Image) -> Image.Image:
    """Modes I;16 (16-bit grey), I (32-bit) and F (float), which Pillow's own conversion would clip at 255."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("some pixels are NaN or infinite, give them a value first")
    top = float(values.max(initial=0.0))
    if image.mode == "F":  # by custom 0..1, else 0..255
        scale = 255.0 if top <= 1.0 else 1.0
    else:  # 16 bits, unless the values fit into 8 or need more
        scale = 255.0 / 65535.0 if image.mode != "I" or top > 255 else 1.0
    return Image.fromarray(np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8))

"""Decode anything that a person would call an image, as a person sees it: upright, RGB, 8 bits."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImagePalette, UnidentifiedImageError

from maxvit.config import Preprocessing, Size
from maxvit.data.depth import Range, Unfit, is_deep, read_deep, scale
from maxvit.data.formats import WITH_HEIF, identify, make_room
from maxvit.data.kept import Kept, once
from maxvit.errors import MaxViTError

Box = tuple[int, int, int, int]  # top, left, height, width
ImageLike = str | Path | bytes | Image.Image | npt.NDArray[np.generic]
Source = ImageLike | Kept  # of a data set, in training

# what a folder of images is searched for; a single file is opened whatever its name
_COMMON = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_RARE = (".jpe", ".jfif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico")
HEIF = (".heic", ".heif", ".hif")
EXTENSIONS = frozenset((*_COMMON, *_RARE, *(HEIF if WITH_HEIF else ())))

PLAIN = Preprocessing()  # without a network
_COLOUR_MAP = 320  # a tag of TIFF
_TURNS = {  # what makes an image upright, by its EXIF tag
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(source: Source, spec: Preprocessing = PLAIN) -> Image.Image:
    """Read one image.

    Rotated by its EXIF tag, transparency laid over white (but what is transparent everywhere is opaque), palette, grey
    and CMYK converted; of an animation the first frame. Values of more than 8 bits are scaled to 8 by
    `spec.value_range`; where that is None by what their type can hold: 0..65535 of uint16, -32768..32767 of int16, and
    so on, and 0..1 of floats.

    Args:
        source: A path, the bytes of a file, a PIL image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4):
            bool, uint8, uint16, or float in 0..1; with a value range any numbers, which it then scales.
        spec: Whose `value_range` and `max_pixels` count.

    Returns:
        An RGB image; of one that is `Kept` always the same, which is not to be changed.

    Raises:
        MaxViTError: If it is not an image, or damaged, or has more than `spec.max_pixels`.
    """
    if isinstance(source, Kept):
        return once(source, "decoded", lambda stored: without_tags(decode(stored, spec)))
    if isinstance(source, np.ndarray):
        return upright(_from_array(source, spec.value_range), spec)
    with opened(source) as image:
        picture = upright(image, spec)
        return picture.copy() if picture is source else picture


@contextmanager
def opened(source: Source) -> Iterator[Image.Image]:
    """The image as it is stored; of a file no pixel has been read yet.

    Raises:
        MaxViTError: If it is not an image; and, in place of whatever Pillow raises while it is open, if it is damaged.
    """
    if isinstance(source, Kept):
        source = source.read()
    if isinstance(source, np.ndarray):
        yield _from_array(source, None)
        return
    if not isinstance(source, str | Path | bytes | Image.Image):
        raise MaxViTError(f"a {type(source).__name__} is not an image; give a path, bytes, a PIL image or an array")
    name = str(source) if isinstance(source, str | Path) else "the data"
    try:
        if isinstance(source, Image.Image):
            yield source
        else:
            with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
                image = identify(file, name)
                if image.format == "TIFF":
                    _mend_tiff(image)
                yield image
    except (MaxViTError, MemoryError):
        raise
    except Unfit as error:
        raise MaxViTError(f"{name} {error}") from error
    except FileNotFoundError as error:
        raise MaxViTError(f"{name} does not exist: check the path") from error
    except IsADirectoryError as error:
        raise MaxViTError(f"{name} is a folder, and an image file is wanted") from error
    except UnidentifiedImageError as error:
        raise MaxViTError(f"{name} is {error}") from error
    except (PermissionError, NotADirectoryError) as error:
        raise MaxViTError(f"{name} cannot be opened: {error.strerror}") from error
    except Exception as error:  # Pillow's readers raise all sorts of them on damaged files
        reason = " ".join(str(error).split())  # of an assertion there is none
        raise MaxViTError(f"{name} is damaged{reason and f': {reason}'}") from error


def read_size(source: ImageLike) -> tuple[int, int]:
    """(height, width) of an image as a person sees it; of a file only the header is read.

    Raises:
        MaxViTError: If it is not an image.
    """
    if isinstance(source, np.ndarray):
        return source.shape[0], source.shape[1]
    with opened(source) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) that `upright` will give."""
    turned = orientation(image) in (5, 6, 7, 8)
    width, height = _stored_size(image)
    return (width, height) if turned else (height, width)


def orientation(image: Image.Image) -> int:
    """How an image is to be turned, by its EXIF tag: 1 to 8; 1, as it is, where the tags are damaged."""
    try:
        tags: Any = image.tag_v2 if _is_unread_tiff(image) else image.getexif()  # type: ignore[attr-defined]
        found = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever damaged tags lead to, the picture is whole
        return 1
    return found if type(found) is int and 1 <= found <= 8 else 1


def _is_unread_tiff(image: Any) -> bool:
    """Which Pillow turns as it reads it; some versions turn its size already as they open it."""
    return image.format == "TIFF" and bool(getattr(image, "tile", []))


def _stored_size(image: Any) -> tuple[int, int]:
    """(width, height) in the file."""
    size: tuple[int, int] = (image.tag_v2[256], image.tag_v2[257]) if _is_unread_tiff(image) else image.size
    return size


def shrink_factor(box: Box, size: Size) -> int:
    """By how much a picture may shrink, 1, 2, 4 or 8, so that what is in the box keeps `size` pixels."""
    return max(s for s in (1, 2, 4, 8) if s == 1 or (box[2] >= s * size[0] and box[3] >= s * size[1]))


def can_shrink(image: Image.Image) -> bool:
    """Whether it is a JPEG, which `shrink` decodes at a part of its size."""
    return image.format in ("JPEG", "MPO")


def shrink(image: Image.Image, factor: int) -> int:
    """Have a JPEG that is not yet read decoded at 1 / `factor` of its size, rounded up.

    Returns:
        The factor; 1 of an image that is no JPEG, which stays as it is.
    """
    small = factor > 1 and image.draft(None, (image.width // factor, image.height // factor))
    return factor if small else 1


def crop(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """What is in (left, top, right, bottom), all inside; Pillow's own refuses large pieces."""
    if box == (0, 0, *image.size):
        return image
    size = box[2] - box[0], box[3] - box[1]
    return image.resize(size, Image.Resampling.NEAREST, box)


def _from_array(array: npt.NDArray[Any], value_range: Range | None) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)) or array.size == 0:
        raise MaxViTError(f"an array of shape {array.shape} is not an image; give (H, W), (H, W, 3) or (H, W, 4)")
    floats = np.issubdtype(array.dtype, np.floating)
    if array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif value_range and array.dtype != np.uint8 and (floats or np.issubdtype(array.dtype, np.integer)):
        if not np.isfinite(array).all():
            raise MaxViTError("an array holds NaN or infinite values: give them a value first")
        array = scale(array, value_range)
    elif array.dtype == np.uint16:
        array = scale(array, (0, 65535))  # as of a 16-bit file
    elif floats:
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise MaxViTError("a float array must hold values in 0..1; scale it, or give uint8")
        array = scale(array, (0, 1))
    elif array.dtype != np.uint8:
        raise MaxViTError(f"an array of {array.dtype} is not an image; give bool, uint8, uint16 or float in 0..1")
    return Image.fromarray(array)


def upright(image: Image.Image, spec: Preprocessing = PLAIN) -> Image.Image:
    """As a person sees it: turned by its EXIF tag, without transparency, in 8-bit RGB; see `decode`."""
    check_pixels(image, spec)
    if is_deep(image):
        picture = read_deep(image).to_8_bits(spec.value_range)
    else:
        image.load()
        picture = image
    picture = _opaque(picture)
    turn = _TURNS.get(orientation(image))  # after loading, which turns a TIFF file
    if turn is not None:
        picture = picture.transpose(turn)
    if picture is not image:
        picture.info = {}  # those tags are of the image as it is stored
    return picture


def without_tags(picture: Image.Image) -> Image.Image:
    """A copy of the pixels alone, to be kept: the tags of a file may hold another picture, or a profile."""
    bare = picture.copy()
    bare.info = {}
    return bare


def check_pixels(image: Image.Image, spec: Preprocessing) -> None:
    """Before it is read: refuse more than `spec.max_pixels`, by `Unfit`, which `opened` puts the name before."""
    if image.width * image.height > spec.max_pixels:
        raise Unfit(
            f"has {image.width} x {image.height} pixels, and at most {spec.max_pixels} are read: make it smaller, or "
            "raise data.max_pixels in training, which the network keeps"
        )
    make_room(image)


def _opaque(image: Image.Image) -> Image.Image:
    """RGB, what is transparent over white; an alpha channel that is 0 everywhere is one that nobody has filled."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (0, 0):
            return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _mend_tiff(image: Any) -> None:
    """Before it is read: tags that Pillow takes wrongly, or stumbles over though they do not matter."""
    turn = orientation(image)
    image.info.pop("xmp", None)
    image._exif = Image.Exif()  # of all its tags the one that counts
    image._exif._loaded = True
    image._exif[ExifTags.Base.Orientation] = turn
    if image.mode in ("P", "PA"):
        colours = image.tag_v2[_COLOUR_MAP]
        if max(colours) < 256:  # they should have 16 bits, and some writers give 8
            image.palette = ImagePalette.raw("RGB;L", bytes(colours))

"""Which kinds of files are opened: Pillow's readers of what cameras, scanners and browsers write, and no others."""

import ctypes
import logging
import os
import struct
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import IO, Any

from PIL import Image, ImageFile, UnidentifiedImageError

from maxvit.errors import say_missing

# Pillow has more readers, and they are not for files of anybody: one of them runs Ghostscript. TGA files have no mark
# that they begin with, so that its reader is the last to be asked.
FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP", "TGA")
WITH_HEIF = find_spec("pillow_heif") is not None  # the extra `heif`: what iPhones write
_HEIF = (b"ftypheic", b"ftypheix", b"ftypheim", b"ftypheis", b"ftypmif1")  # what it begins with, after 4 bytes

# More pixels than a byte of these holds: a header that says so is damaged, and it would take long to find out, or much
# memory. No TIFF or WebP picture has more, though a single colour might; fax, which leaves whole rows out, has no
# such number.
MOST_PIXELS_IN_A_BYTE = {"BMP": 256, "JPEG": 1024, "MPO": 1024, "TIFF": 16384, "WEBP": 16384}
_OF_TIFF: dict[str | None, int | None] = {"raw": 8, "group3": None, "group4": None, "tiff_ccitt": None}


@cache
def readers() -> tuple[tuple[str, Callable[..., Any], Callable[[bytes], Any] | None], ...]:
    """(name, reader, whether a file beginning like this is of the format) of those that are installed."""
    if WITH_HEIF:
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    _quiet_libraries()
    return tuple((name, *Image.OPEN[name]) for name in FORMATS if name in Image.OPEN)


def identify(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """The image in a file, of which the header is read.

    It is Pillow's `Image.open` without its limit of pixels, which is one for the whole process.

    Raises:
        UnidentifiedImageError: If no reader takes it.
    """
    prefix, reason = file.read(16), ""
    for kind, read, accepts in readers():
        fits = accepts is None or accepts(prefix)
        if not fits or isinstance(fits, str):  # a text: the reader was built without its codec
            continue
        file.seek(0)
        try:
            image: ImageFile.ImageFile = read(file, name)
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            reason = f" ({kind}: {error})" if accepts else reason
            continue
        _check_declared(image, file)
        return image
    if not WITH_HEIF and prefix[4:12] in _HEIF:
        raise UnidentifiedImageError(f"HEIF, which needs {say_missing('pillow_heif')}")
    raise UnidentifiedImageError(f"not an image that can be read{reason}")


def _check_declared(image: Image.Image, file: IO[bytes]) -> None:
    """Refuse a size that the file is too small for."""
    most = MOST_PIXELS_IN_A_BYTE.get(image.format or "")
    if image.format == "TIFF":
        most = _OF_TIFF.get(image.info.get("compression"), most)
    position = file.tell()
    length = file.seek(0, os.SEEK_END)
    file.seek(position)
    if most and image.width * image.height > most * length:
        raise ValueError(f"{image.width} x {image.height} pixels cannot be in {length} bytes")


def make_room(image: Any) -> None:
    """Before a large TIFF file is read, for which its reader has Pillow's limit of pixels again."""
    if image.format == "TIFF" and image.tile and image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
        image.im = Image.core.new(image.mode, (image.tag_v2[256], image.tag_v2[257]))  # type: ignore[attr-defined]


def quiet_pillow() -> None:
    """Keep Pillow's warnings of odd tags off the terminal; for processes that are ours, not for those of a caller."""
    warnings.filterwarnings("ignore", module=r"PIL\b")


def _quiet_libraries() -> None:
    """What libtiff prints, and what Pillow logs where nobody listens: the exception that comes with it is enough."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:
        silence = ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler  # type: ignore[attr-defined]
    except (AttributeError, OSError, TypeError):  # Pillow without libtiff, or with it inside, as on Windows
        return
    silence.argtypes, silence.restype = [ctypes.c_void_p], ctypes.c_void_p
    silence(None)

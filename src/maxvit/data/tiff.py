"""TIFF files of several bands, doubles and other types that Pillow does not read, or not whole: by tifffile."""

import dataclasses
import logging
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import IO, Any

import numpy as np
from PIL import ImageFile

from maxvit.config import MOST_BANDS
from maxvit.data.depth import Deep, Unfit
from maxvit.data.formats import MOST_PIXELS_IN_A_BYTE
from maxvit.data.raw import Raw, as_deep, check_bands, is_deep
from maxvit.errors import say_missing

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # what a file begins with
_PHOTOMETRIC, _SAMPLES, _EXTRA, _ORIENTATION = 262, 277, 338, 274  # tags
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}  # RGB, CMYK, YCbCr, Lab; else one
_WITHOUT_CODECS = (1, 8, 32946, 32773, 34925)  # stored as they are, deflated twice, PackBits, LZMA
_ALPHA = (1, 2)  # of what the samples beyond the colours are


def bands_in(image: ImageFile.ImageFile) -> int:
    """How many bands a file holds that Pillow has opened; alpha and the four of CMYK do not count."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    kind, samples = tags.get(_PHOTOMETRIC), tags.get(_SAMPLES, 1)
    colours, extra = _COLOURS.get(kind, 1), tags.get(_EXTRA, ())
    alpha = sum(what in _ALPHA for what in (extra if isinstance(extra, tuple) else (extra,)))
    found: int = samples - alpha
    return min(found, 3) if found <= colours else found


def hides_bands(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow reads only the first of several bands."""
    return image.tag_v2.get(_PHOTOMETRIC) in (0, 1) and bands_in(image) > 1  # type: ignore[attr-defined]


def open_tiff(file: IO[bytes], why: str = "") -> Raw:
    """The first page of a file, with all its bands; and all pages together, where each is a band.

    Args:
        file: At any place.
        why: What Pillow says of it.

    Raises:
        Unfit: If tifffile (an optional dependency) is missing, or the file has too many bands or no numbers.
    """
    if find_spec("tifffile") is None:
        raise Unfit(f"is a TIFF that Pillow does not read{why}; to read more needs {say_missing('tifffile')}")
    import tifffile

    quiet = logging.getLogger("tifffile")
    if not quiet.handlers:  # the exception that comes with it is enough
        quiet.addHandler(logging.NullHandler())
        quiet.propagate = False
    file.seek(0)
    pages: Any = tifffile.TiffFile(file).pages
    page = pages[0]
    if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None or page.dtype.kind not in "biuf":
        raise Unfit(f"holds values of type {page.dtype} in the order {page.axes}: pixels of numbers are wanted")
    height, width, bands = page.imagelength, page.imagewidth, page.samplesperpixel
    check_bands(bands)
    if min(width, height, bands) < 1:
        raise Unfit(f"is damaged: it has {width} x {height} pixels of {bands} bands")
    if width * height > MOST_PIXELS_IN_A_BYTE["TIFF"] * file.seek(0, 2):
        raise Unfit(f"is damaged: {width} x {height} pixels cannot be in a file so small")
    turn = page.tags.valueof(_ORIENTATION, 1)
    inverted = page.photometric == 0

    def read(pages: Sequence[Any]) -> Deep:
        if page.compression not in _WITHOUT_CODECS and find_spec("imagecodecs") is None:
            kind = page.compression.name
            raise Unfit(f"is compressed by {kind}, and to read it needs {say_missing('imagecodecs')}")
        values = np.stack([each.asarray() for each in pages], -1) if len(pages) > 1 else page.asarray()
        values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        return as_deep(values)._replace(inverted=inverted)

    turn = turn if turn in range(1, 9) else 1
    first = Raw("TIFF", width, height, bands, is_deep(page.dtype), partial(read, [page]), turn)
    if bands > 1 or not 1 < len(pages) <= MOST_BANDS or any(_kind(one) != _kind(page) for one in pages):
        return first
    stacked = dataclasses.replace(first, bands=len(pages), read=partial(read, list(pages)))
    return dataclasses.replace(first, stacked=stacked)


def _kind(page: Any) -> tuple[Any, ...]:
    """What pages must have in common to be bands of one image."""
    return page.shape, page.dtype, page.samplesperpixel

"""Files of numbers that are images, which Pillow does not read: NumPy's, DICOM, and TIFF of any bands and types."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from maxvit.config import MOST_BANDS
from maxvit.data.depth import Deep, Unfit, full_range

NUMPY = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class Raw:
    """A file of which the header is read.

    Attributes:
        format: "NPY", "DICOM" or "TIFF"; "" of an array in memory.
        width: As stored, in pixels.
        height: As stored, in pixels.
        bands: How many values a pixel has.
        is_deep: Whether they have more than 8 bits.
        read: Reads the values.
        turn: How the image is to be turned, 1 to 8, as EXIF's tag has it.
        stacked: The same file with a band for each page, where it has several pages of one band, all alike.
    """

    format: str
    width: int
    height: int
    bands: int
    is_deep: bool
    read: Callable[[], Deep]
    turn: int = 1
    stacked: "Raw | None" = None


def of_array(array: npt.NDArray[Any]) -> Raw:
    """Numbers (H, W) or (H, W, C) as an image. Raises `Unfit` if they are none."""
    height, width, bands = _sides(array.shape)
    _check_type(array.dtype)
    return Raw("", width, height, bands, is_deep(array.dtype), lambda: as_deep(array))


def open_numpy(file: IO[bytes]) -> Raw:
    """A .npy file of numbers (H, W) or (H, W, C). Raises `Unfit` if it is none, or shorter than its header says."""
    version = np.lib.format.read_magic(file)
    read_header: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    _check_type(dtype)
    height, width, bands = _sides(shape)
    start = file.tell()
    length, wanted = file.seek(0, os.SEEK_END) - start, height * width * bands * dtype.itemsize
    if length < wanted:
        raise Unfit(f"is damaged: {wanted} bytes of values are missing {wanted - length}")

    def read() -> Deep:
        file.seek(0)
        return as_deep(np.lib.format.read_array(file, allow_pickle=False))

    return Raw("NPY", width, height, bands, is_deep(dtype), read)


def as_deep(values: npt.NDArray[Any]) -> Deep:
    """(H, W) or (H, W, C) of any numbers; one band is (H, W)."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    return Deep(values.astype(values.dtype.newbyteorder("="), copy=False), None, full_range(values.dtype))


def is_deep(dtype: np.dtype[Any]) -> bool:
    """Whether such values have more than 8 bits."""
    return dtype not in (np.dtype(np.uint8), np.dtype(np.bool_))


def check_bands(number: int) -> None:
    """Refuse more bands than are read, by `Unfit`."""
    if number > MOST_BANDS:
        raise Unfit(f"has {number} bands, and at most {MOST_BANDS} are read: choose some of them")


def _check_type(dtype: np.dtype[Any]) -> None:
    if dtype.hasobject:
        raise Unfit("holds Python objects, which could run code and are never read: save it as an array of numbers")
    if dtype.kind not in "biuf":
        raise Unfit(f"holds values of type {dtype}: whole numbers or floats are wanted")


def _sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(height, width, bands)."""
    if len(shape) not in (2, 3) or 0 in shape:
        raise Unfit(f"has the shape {shape}: an image is (H, W) or (H, W, C)")
    height, width, bands = shape if len(shape) == 3 else (*shape, 1)
    if bands > MOST_BANDS >= height:
        raise Unfit(f"has the shape {shape}, which looks like (C, H, W): an image is (H, W, C), with at most 16 bands")
    check_bands(bands)
    return height, width, bands

"""Values above 8 bits: what a file holds, and which of them are black and white.

Pillow keeps 16-bit colours by their upper byte alone. Here the file is read a second time for the lower one.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from maxvit.config import Range
from maxvit.data.bands import Bands
from maxvit.data.formats import make_room

_STRIP = 1 << 20  # values converted at a time
_BITS, _PHOTOMETRIC, _PLANAR, _SAMPLE_FORMAT = 258, 262, 284, 339  # tags of TIFF
_OTHER_BYTE = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class Unfit(Exception):
    """What is wrong with an image that is not damaged; a sentence that begins with its name goes on so."""


class Deep(NamedTuple):
    """What an image holds, mostly of more than 8 bits.

    Attributes:
        values: (H, W) or (H, W, C), whole numbers or floats.
        alpha: (H, W) uint8; None: it is opaque.
        full: The range of the container: what its type can hold, and 0 to 1 of floats.
        inverted: Whether small values are white.
        windowed: Whether `full` is what the file itself says is black and white.
    """

    values: npt.NDArray[Any]
    alpha: npt.NDArray[np.uint8] | None
    full: Range
    inverted: bool = False
    windowed: bool = False

    def to_8_bits(self, ranges: Sequence[Range]) -> Image.Image:
        """Grey or RGB, with alpha if there is one.

        Args:
            ranges: Of each channel, or one of all; (): the container's range. Values of 8 bits need none.

        Raises:
            ValueError: If some values are NaN or infinite.
            Unfit: If no range is known, and the container's is plainly another: floats beyond 0..1, or values that
                differ and would all become one.
        """
        values = self.values
        if values.ndim == 2 and len(ranges) == 3:  # grey, for each colour
            values = np.repeat(values[..., None], 3, 2)
        image = Image.fromarray(self._scaled(values, ranges))
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        return image

    def to_bands(self, ranges: Sequence[Range]) -> Bands:
        """All its bands. Arguments and errors are those of `to_8_bits`."""
        values = self.values if self.values.ndim == 3 else self.values[..., None]
        return Bands.of(self._scaled(values, ranges))

    def _scaled(self, values: npt.NDArray[Any], ranges: Sequence[Range]) -> npt.NDArray[np.uint8]:
        if values.dtype == np.uint8:
            return 255 - values if self.inverted else values
        if not ranges:
            self._check_full()
        pairs = [(high, low) if self.inverted else (low, high) for low, high in ranges or [self.full]]
        if len(pairs) == 1:
            return scale(values, pairs[0])
        channels = [np.ascontiguousarray(values[..., channel]) for channel in range(values.shape[2])]
        return np.stack([scale(one, pair) for one, pair in zip(channels, pairs, strict=True)], -1)

    def _check_full(self) -> None:
        if self.windowed:
            return
        low, high = self.full
        least, most = float(self.values.min()), float(self.values.max())
        if self.values.dtype.kind == "f":
            unfit = bool(((self.values < low) | (self.values > high)).mean() > 0.05)
        else:
            unfit = 0 < most - least < (high - low) / 255
        if unfit:
            raise Unfit(
                f"holds values from {least:.10g} to {most:.10g}, and by its type black is {low:.10g} and white "
                f"{high:.10g}: scale them to that, or train on such images, which measures data.value_range"
            )


def full_range(dtype: np.dtype[Any]) -> Range:
    """What a type can hold; 0 to 1 of floats."""
    if dtype.kind in "iu":
        return float(np.iinfo(dtype).min), float(np.iinfo(dtype).max)
    return 0.0, 1.0


def scale(values: npt.NDArray[Any], value_range: Range) -> npt.NDArray[np.uint8]:
    """To 0..255, clipped, a strip at a time. Raises `ValueError` if some are NaN or infinite."""
    flat, (low, high) = values.reshape(-1), value_range
    found = np.empty(flat.shape, np.uint8)
    if values.dtype.kind in "iu" and values.itemsize == 2 and values.size > 2**16:  # a table takes a tenth of the time
        bounds = np.iinfo(values.dtype)
        table = scale(np.arange(bounds.min, bounds.max + 1, dtype=np.int32), value_range)
        for start in range(0, len(flat), _STRIP):
            found[start : start + _STRIP] = table[flat[start : start + _STRIP].astype(np.int32) - bounds.min]
        return found.reshape(values.shape)
    for start in range(0, len(flat), _STRIP):
        with np.errstate(invalid="ignore"):  # a NaN of the kind that signals
            strip = flat[start : start + _STRIP].astype(np.float64)
        if not np.isfinite(strip).all():
            raise ValueError("some pixels are NaN or infinite, give them a value first")
        with np.errstate(over="ignore"):  # what becomes infinite is black or white in any case
            strip -= low
            strip *= 255
            strip /= high - low
        found[start : start + _STRIP] = np.rint(np.clip(strip, 0, 255))
    return found.reshape(values.shape)


def is_deep(image: Image.Image) -> bool:
    """Whether it has more than 8 bits a value; a file's pixels are not read for it."""
    return image.mode[0] in "IF" or _is_signed_byte(image) or _deep_colours(image)


def read_deep(image: Image.Image) -> Deep:
    """What an image holds that `is_deep`, as it is stored."""
    if _deep_colours(image):
        return _read_colours(image)
    if image.format == "TIFF":
        full, inverted = _range_of_tiff(image), image.tag_v2.get(_PHOTOMETRIC) == 0  # type: ignore[attr-defined]
    else:  # elsewhere Pillow's mode I holds 16 bits too
        full, inverted = (0.0, 1.0) if image.mode == "F" else (0.0, 65535.0), False
    values = np.asarray(image)
    if full[0] == 0 and full[1] > 2**31:
        values = values.view(np.uint32)  # Pillow has no such mode
    elif image.mode == "L":
        values = values.view(np.int8)
    clear = image.info.get("transparency")
    alpha = np.where(values == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    return Deep(values, alpha, full, inverted)


def _range_of_tiff(image: Any) -> Range:
    """What the type of its values can hold."""
    bits, kind = image.tag_v2.get(_BITS, (1,))[0], image.tag_v2.get(_SAMPLE_FORMAT, (1,))[0]
    if kind == 3:
        return 0.0, 1.0
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if kind == 2 else (0.0, 2.0**bits - 1)


def _is_signed_byte(image: Any) -> bool:
    return image.format == "TIFF" and image.mode == "L" and _range_of_tiff(image)[0] < 0


def _deep_colours(image: Image.Image) -> bool:
    """A file of 16-bit colours, or 16-bit grey with alpha, that is not read yet."""
    return image.format in ("PNG", "TIFF") and image.mode in ("RGB", "RGBA") and bool(_sixteen(image))


def _sixteen(image: Any) -> list[str]:
    """The raw mode of each tile, RGB;16B or R;16B and so on; empty if they are of 8 bits.

    Pillow (13.0) forgets the depth of TIFF files whose colours are one after another.
    """
    modes = [args if isinstance(args, str) else args[0] for *_, args in getattr(image, "tile", [])]
    if image.format == "TIFF" and image.tag_v2.get(_BITS, (8,))[0] == 16:
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        modes = [mode if ";16" in mode else f"{mode};16{order}" for mode in modes]
    # alpha that is multiplied into the colours already is divided out again as it is read
    return modes if all(";16" in mode and not mode.startswith("RGBa") for mode in modes) else []


def _with_modes(image: Any, modes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Read a file by other raw modes."""
    changed = []
    for tile, mode in zip(image.tile, modes, strict=True):
        *place, args = tile
        make = getattr(tile, "_make", tuple)  # Pillow's before 11 are plain
        changed.append(make((*place, mode if isinstance(args, str) else (mode, *args[1:]))))
    image.tile = changed
    return np.asarray(image)


def _read_colours(image: Any) -> Deep:
    modes, file = _sixteen(image), image.fp
    if image.format == "TIFF" and image.tag_v2.get(_PLANAR) == 2 and image.use_load_libtiff:
        raise Unfit("has 16-bit colours in compressed planes, of which Pillow reads the upper byte: save it otherwise")
    if modes[0].startswith("LA"):  # two bytes of each, as if they were four channels
        four = _with_modes(image, ["RGBA"] * len(modes))
        return Deep(four[..., 0] * np.uint16(256) + four[..., 1], four[..., 2], (0.0, 65535.0))
    file.seek(0)
    again = type(image)(file)
    make_room(again)
    upper = _with_modes(image, modes)
    lower = _with_modes(again, [mode[:-1] + _OTHER_BYTE[mode[-1]] for mode in modes])
    values = upper[..., :3].astype(np.uint16)
    values *= 256
    values += lower[..., :3]
    alpha = np.ascontiguousarray(upper[..., 3]) if image.mode == "RGBA" else None
    clear = image.info.get("transparency")
    if isinstance(clear, tuple):
        alpha = np.where((values == np.array(clear, np.uint16)).all(-1), 0, 255).astype(np.uint8)
    return Deep(values, alpha, (0.0, 65535.0))

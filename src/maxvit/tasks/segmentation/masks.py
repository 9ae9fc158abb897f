"""A mask is a file with a value or a colour at each pixel; a key says which class each of them is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Size
from maxvit.data.images import opened
from maxvit.data.raw import Raw
from maxvit.errors import MaxViTError

IGNORED = 255
UNKNOWN = -1
WHITE = 255
Classes = npt.NDArray[np.int16]


class MaskKey(Protocol):
    """What the values or colours of masks mean."""

    def read(self, path: Path) -> Classes:
        """The class of each pixel (height, width), 255 where it is ignored. Raises `MaxViTError`."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """What the 256 values of a mask mean.

    Attributes:
        classes: For each value its class, 255 where it is ignored, -1 where there should be none.
    """

    classes: tuple[int, ...]

    @classmethod
    def of(cls, classes: Sequence[int], zero_is_ignored: bool) -> "Key":
        """The first value is `classes[0]`, the next `classes[1]`, ...; 255 is ignored, and so is 0 if it is said so."""
        known = [IGNORED, *classes] if zero_is_ignored else list(classes)
        return cls.at(dict(enumerate(known)))

    @classmethod
    def black_and_white(cls, classes: Sequence[int]) -> "Key":
        """0 is the first class and 255 the second; nothing is ignored."""
        return cls.at({0: classes[0], WHITE: classes[1]})

    @classmethod
    def at(cls, classes: Mapping[int, int]) -> "Key":
        """The class of each value; 255 is ignored, unless it has one."""
        return cls(tuple({IGNORED: IGNORED, **classes}.get(value, UNKNOWN) for value in range(256)))

    def read(self, path: Path) -> Classes:
        """See `MaskKey`. Raises `MaxViTError` if the file is missing or damaged, has colours or a value of no class."""
        values = read_values(path)
        classes = np.asarray(self.classes, np.int16)[values]
        if (unknown := classes == UNKNOWN).any():
            raise MaxViTError(
                f"mask {path} has the value {values[unknown][0]} at {int(unknown.sum())} pixels; {self._allowed()}: "
                "correct it, or name more classes"
            )
        return classes

    def _allowed(self) -> str:
        allowed = [value for value, known in enumerate(self.classes) if known != UNKNOWN]
        if self.classes[WHITE] != IGNORED:
            return f"values are {' and '.join(map(str, allowed))}"
        ranges = (
            f"{allowed[0]} to {allowed[-2]}" if len(allowed) - 1 > allowed[-2] else ", ".join(map(str, allowed[:-1]))
        )
        return f"values are {ranges}, and 255 where a pixel is ignored"


@dataclass(frozen=True, slots=True)
class MaskFile:
    """The annotation of an image: where its mask is, and how to read it."""

    path: Path
    key: MaskKey


def read_mask(label: MaskFile, size: Size) -> Tensor:
    """The class of each pixel, (height, width) uint8, 255 where none is asked for.

    Args:
        label: The mask.
        size: Size of its image, upright.

    Raises:
        MaxViTError: If the file is missing or damaged, has another size, or a value or a colour of no class.
    """
    classes = label.key.read(label.path)
    if classes.shape != tuple(size):
        raise MaxViTError(
            f"mask {label.path} has {classes.shape[0]} x {classes.shape[1]} pixels (height x width) and its image, "
            f"upright, {size[0]} x {size[1]}: give both one size"
        )
    return torch.from_numpy(classes.astype(np.uint8))


def _step(image: Image.Image) -> int:
    """From one value to the next: Pillow spreads grey of 2 and 4 bits over 0 to 255 when it loads the pixels."""
    stored = [tile[3] for tile in getattr(image, "tile", ())]  # of an image that is open, and not loaded
    return 85 if stored == ["L;2"] else 17 if stored == ["L;4"] else 1


def read_values(path: Path) -> npt.NDArray[np.uint8]:
    """What a mask's file holds, (height, width) uint8; of a palette image its indices. Raises `MaxViTError`.

    Grey that is stored as three channels is grey.
    """
    with opened(path) as image:
        if isinstance(image, Raw):  # an array of NumPy's
            values: npt.NDArray[Any] = image.read().values
            mode, step = "I" if values.ndim == 2 and values.dtype.kind in "iu" else f"{image.bands} x {values.dtype}", 1
        else:
            mode, step, values = image.mode, _step(image), np.asarray(image)
    if mode in ("RGB", "RGBA", "LA") and (values == values[..., :1])[..., : 3 if mode != "LA" else 1].all():
        values = values[..., 0]
    elif mode not in ("P", "L", "1") and not mode.startswith("I"):
        raise MaxViTError(
            f"mask {path} is of mode {mode}, and a mask has one channel, grey or palette, of class indices: save it "
            "so, or say in class_dict.csv (name,r,g,b) which class each colour is"
        )
    values = values // step
    if values.size and not 0 <= values.min() <= values.max() <= IGNORED:
        raise MaxViTError(
            f"mask {path} has values from {values.min()} to {values.max()}; classes are 0 to 254, and 255 is ignored"
        )
    return values.astype(np.uint8)

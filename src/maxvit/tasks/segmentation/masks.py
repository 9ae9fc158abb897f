"""A mask is a file with a value at each pixel; a key says which class each value is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Size
from maxvit.data.images import opened
from maxvit.errors import MaxViTError

IGNORED = 255
_UNKNOWN = -1


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
        return cls((*known, *[_UNKNOWN] * (IGNORED - len(known)), IGNORED))


@dataclass(frozen=True, slots=True)
class MaskFile:
    """The annotation of an image: where its mask is, and how to read it."""

    path: Path
    key: Key


def read_mask(label: MaskFile, size: Size) -> Tensor:
    """The class of each pixel, (height, width) uint8, 255 where none is asked for.

    Args:
        label: The mask.
        size: Size of its image, upright.

    Raises:
        MaxViTError: If the file is missing or damaged, has colours, another size or a value of no class.
    """
    values = read_values(label.path)
    if values.shape != tuple(size):
        raise MaxViTError(
            f"mask {label.path} has {values.shape[0]} x {values.shape[1]} pixels (height x width) and its image, "
            f"upright, {size[0]} x {size[1]}: give both one size"
        )
    classes = torch.tensor(label.key.classes, dtype=torch.int16)[torch.from_numpy(values).long()]
    if (unknown := classes == _UNKNOWN).any():
        value = int(values[unknown.numpy()][0])
        allowed = [v for v, known in enumerate(label.key.classes) if known != _UNKNOWN]
        raise MaxViTError(
            f"mask {label.path} has the value {value} at {int(unknown.sum())} pixels; values are "
            f"{allowed[0]} to {allowed[-2]}, and 255 where a pixel is ignored: correct it, or name more classes"
        )
    return classes.to(torch.uint8)


def _step(image: Image.Image) -> int:
    """From one value to the next: Pillow spreads grey of 2 and 4 bits over 0 to 255 when it loads the pixels."""
    stored = [tile[3] for tile in getattr(image, "tile", ())]  # of an image that is open, and not loaded
    return 85 if stored == ["L;2"] else 17 if stored == ["L;4"] else 1


def read_values(path: Path) -> np.ndarray:
    """What a mask's file holds, (height, width) uint8; of a palette image its indices. Raises `MaxViTError`."""
    with opened(path) as image:
        mode, step = image.mode, _step(image)
        values = np.asarray(image)
    if mode not in ("P", "L", "1") and not mode.startswith("I"):
        raise MaxViTError(
            f"mask {path} is of mode {mode}, and a mask has one channel, grey or palette, of class indices: save it so"
        )
    values = values // step
    if values.size and not 0 <= values.min() <= values.max() <= IGNORED:
        raise MaxViTError(
            f"mask {path} has values from {values.min()} to {values.max()}; classes are 0 to 254, and 255 is ignored"
        )
    return values.astype(np.uint8)

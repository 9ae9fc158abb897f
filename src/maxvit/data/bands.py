"""Pictures of other than one or three bands, as satellites and microscopes make them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Preprocessing


class Bands:
    """A picture of any number of 8-bit bands, with the operations of Pillow's that are asked of pictures.

    Args:
        images: A grey image for each band, all of one size. They must not be changed any more.
    """

    __slots__ = ("images",)

    def __init__(self, images: Sequence[Image.Image]) -> None:
        self.images = tuple(images)

    @classmethod
    def of(cls, values: npt.NDArray[np.uint8]) -> "Bands":
        """From an array (H, W, C)."""
        return cls([Image.fromarray(np.ascontiguousarray(values[..., band])) for band in range(values.shape[2])])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.images[0].size

    @property
    def width(self) -> int:
        """In pixels."""
        return self.images[0].width

    @property
    def height(self) -> int:
        """In pixels."""
        return self.images[0].height

    def resize(
        self,
        size: tuple[int, int],
        resample: Image.Resampling = Image.Resampling.BICUBIC,
        box: tuple[float, float, float, float] | None = None,
        reducing_gap: float | None = None,
    ) -> "Bands":
        """As `PIL.Image.Image.resize` does it, band by band."""
        return Bands([image.resize(size, resample, box, reducing_gap) for image in self.images])

    def transpose(self, method: Image.Transpose) -> "Bands":
        """As `PIL.Image.Image.transpose` does it."""
        return Bands([image.transpose(method) for image in self.images])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """(H, W, C) uint8, unless another type is asked for."""
        pixels = np.stack([np.asarray(image) for image in self.images], -1)
        return pixels if dtype is None else pixels.astype(dtype)


Picture = Image.Image | Bands  # as decoded: RGB, or of bands


def to_tensor(picture: Picture) -> Tensor:
    """(C, H, W) uint8."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def black(spec: Preprocessing) -> Picture:
    """A picture of the usual size in which there is nothing to see."""
    image = Image.new("RGB", spec.image_size[::-1])
    return Bands([image.getchannel(0)] * spec.channels) if spec.takes_bands else image


def show(picture: Picture, spec: Preprocessing) -> Image.Image:
    """What people are shown: of bands those that `spec` says, as red, green and blue."""
    if isinstance(picture, Bands):
        chosen = [picture.images[band] for band in spec.shown]
        return Image.merge("RGB", chosen * (3 // len(chosen)))
    return picture


def say_shown(spec: Preprocessing) -> str:
    """Which bands that is, as "bands 4, 3 and 2 as red, green and blue"; of photographs nothing."""
    if not spec.takes_bands:
        return ""
    numbers = [band + 1 for band in spec.shown]
    if len(numbers) == 1:
        return f"band {numbers[0]} of {spec.channels} as grey"
    return f"bands {numbers[0]}, {numbers[1]} and {numbers[2]} of {spec.channels} as red, green and blue"

"""What the weights of a network expect of an image."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from maxvit.config.checks import SMALLEST_SIDE, check_known, check_mapping, is_number, plainly_frozen
from maxvit.errors import MaxViTError

Size = tuple[int, int]  # (height, width)
Fit = Literal["crop", "squash", "aspect"]  # how an image gets the shape that is wanted
Range = tuple[float, float]  # the values that become black and white
MOST_BANDS = 16  # of an image


@plainly_frozen()
@dataclass(frozen=True, kw_only=True, slots=True)
class Preprocessing:
    """What the weights expect of an image: cut or squeeze it to a size, then normalise.

    `fit` says how an image of another shape becomes `image_size`. "crop": the centred piece of its aspect ratio.
    "squash": the whole image, squeezed. "aspect": the whole image keeps its shape, and takes as many pixels as
    `image_size` has, each side a multiple of 32; images then differ in size.

    `interpolation` "bicubic" and "bilinear" are Pillow's antialiased ones. "bicubic-tf1" is the official
    evaluation's (TensorFlow 1 rules: corners anchored, a = -0.75, no antialiasing).

    `value_range` holds the values that are black and white in images of more than 8 bits, for all channels or for each:
    it is one for a data set, so that the same value means the same in each of its images. None: what the type in the
    file can hold, 0 to 1 of floats. `max_pixels` is the most that are decoded of one image.

    `mean` and `std` say how many channels there are. Photographs make 1 or 3; any other number is for images with as
    many bands. `shown_bands` are those that people are shown as red, green and blue, from 1; (): the first three.
    """

    image_size: Size = (224, 224)
    fit: Fit = "crop"
    crop_pct: float = 0.875  # of the largest centred piece that has the aspect ratio wanted
    interpolation: Literal["bicubic", "bilinear", "bicubic-tf1"] = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of pixels in 0..1, one per channel
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    value_range: Range | tuple[Range, ...] | None = None
    max_pixels: int = 210_000_000  # telephones make up to 201 million
    shown_bands: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("image_size", "mean", "std", "value_range", "shown_bands"):
            value = getattr(self, name)
            if name == "value_range" and value is None:
                continue
            if not isinstance(value, list | tuple):
                raise MaxViTError(f"{name} is {value!r}; it takes numbers")
            object.__setattr__(self, name, tuple(tuple(v) if isinstance(v, list) else v for v in value))
        for name in ("mean", "std", "crop_pct"):
            value = getattr(self, name)
            if not all(is_number(v) for v in (value if isinstance(value, tuple) else [value])):
                raise MaxViTError(f"{name} is {value!r}; it takes numbers that are finite")
        if len(self.image_size) != 2 or not all(type(v) is int and v >= SMALLEST_SIDE for v in self.image_size):
            raise MaxViTError(f"image_size is {self.image_size}; it takes (height, width) from {SMALLEST_SIDE} up")
        self._check_channels()
        if type(self.max_pixels) is not int or self.max_pixels < 1:
            raise MaxViTError(f"max_pixels is {self.max_pixels!r}; it takes a whole number from 1 up")
        if not 0 < self.crop_pct <= 1:
            raise MaxViTError(f"crop_pct is {self.crop_pct}; it takes a number above 0, up to 1")
        if self.fit not in ("crop", "squash", "aspect"):
            raise MaxViTError(f"fit is {self.fit!r}; choose 'crop', 'squash' or 'aspect'")
        if self.interpolation not in ("bicubic", "bilinear", "bicubic-tf1"):
            raise MaxViTError(f"interpolation is {self.interpolation!r}; choose 'bicubic', 'bilinear' or 'bicubic-tf1'")

    def _check_channels(self) -> None:
        """What is for each channel: as many of it as there are channels."""
        if len(self.mean) != len(self.std) or not 1 <= self.channels <= MOST_BANDS or min(self.std) <= 0:
            raise MaxViTError(
                f"mean {self.mean} and std {self.std} need one value per channel, of 1 to {MOST_BANDS}, std above 0"
            )
        pairs = self.ranges
        for pair in pairs:
            numbers = isinstance(pair, tuple) and len(pair) == 2 and all(map(is_number, pair))
            if not numbers or not pair[0] < pair[1]:
                raise MaxViTError(
                    f"value_range is {self.value_range}; it takes numbers that are finite: the value of black, then "
                    "that of white above it; or such a pair for each channel"
                )
        if len(pairs) not in (0, 1, self.channels):
            raise MaxViTError(f"value_range has {len(pairs)} pairs, and there are {self.channels} channels")
        bands = self.shown_bands
        fit = all(type(band) is int and 1 <= band <= self.channels for band in bands)
        if len(bands) not in (0, 1, 3) or not fit or (bands and not self.takes_bands):
            takes = f"three bands, or one, of 1 to {self.channels}" if self.takes_bands else "none for photographs"
            raise MaxViTError(f"shown_bands is {bands}; it takes {takes}")

    def for_channels(self, channels: int) -> "Preprocessing":
        """The same for images of another number of channels.

        For grey (1) and colours (3) from one another, all have the mean of `mean` and of `std`. Bands have 0.5 each,
        which makes -1 of black and 1 of white. For more than 16, which no image has, it is left as it is.
        """
        if self.channels == channels or channels > MOST_BANDS:
            return self
        if self.takes_bands or channels not in (1, 3):
            mean = std = 0.5
        else:
            mean, std = (sum(v) / len(v) for v in (self.mean, self.std))
        return dataclasses.replace(
            self,
            mean=(mean,) * channels,
            std=(std,) * channels,
            value_range=self.value_range if len(self.ranges) == 1 else None,
            shown_bands=(),
        )

    @property
    def channels(self) -> int:
        """How many the weights expect."""
        return len(self.mean)

    @property
    def takes_bands(self) -> bool:
        """Whether images are other than grey or in colours."""
        return self.channels not in (1, 3)

    @property
    def ranges(self) -> tuple[Range, ...]:
        """`value_range` as pairs: one for each channel, or one for all; () where there is none."""
        given: Any = self.value_range
        return () if given is None else given if given and isinstance(given[0], tuple) else (given,)

    @property
    def shown(self) -> tuple[int, ...]:
        """The bands, from 0, that are shown as red, green and blue; or as grey, where it is one."""
        if self.shown_bands:
            return tuple(band - 1 for band in self.shown_bands)
        return (0, 1, 2) if self.channels > 2 else (0,)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Undo `to_dict`. Raises `MaxViTError` on an unknown key or a value out of range."""
        check_mapping("preprocessing", values)
        check_known("preprocessing key", values, [f.name for f in dataclasses.fields(cls)])
        return cls(**values)


IMAGENET_21K = 21_843  # classes; published weights with so many learned each as a question (paper, Table 12: sigmoid)


def official_preprocessing(image_size: Size, imagenet_21k: bool = False) -> Preprocessing:
    """The official evaluation: crop s / (s + 32), their bicubic, and ImageNet's mean for ImageNet-1K models at 224.

    Fine-tuned models (384, 512) and those of ImageNet-21K see pixels scaled to -1..1 instead (official settings).
    """
    s = min(image_size)
    crop = s / (s + 32)
    if s == 224 and not imagenet_21k:
        return Preprocessing(image_size=image_size, crop_pct=crop, interpolation="bicubic-tf1")
    half = (0.5, 0.5, 0.5)
    return Preprocessing(image_size=image_size, crop_pct=crop, interpolation="bicubic-tf1", mean=half, std=half)

"""What training does to an image so that no epoch shows the same one twice."""

from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from maxvit.config import Preprocessing, Size
from maxvit.data.bands import Bands, Picture, to_tensor
from maxvit.data.images import PLAIN, ImageLike, Source, decode, without_tags
from maxvit.data.kept import once
from maxvit.data.random_crop import RandomPiece
from maxvit.tasks.classification.settings import Augmentation


def training_transform(
    size: Size,
    augmentation: Augmentation,
    rand_augment: tuple[int, int] = (2, 15),
    crop_area: tuple[float, float] = (0.08, 1.0),
    spec: Preprocessing = PLAIN,
) -> nn.Module:
    """What training makes of an image, before `normalise`; draws from PyTorch's random numbers.

    Args:
        size: (height, width) to produce.
        augmentation: "photos": random crop (aspect 3/4 to 4/3 times that of `size`), flip, RandAugment as in the
            paper's recipe, without its operations on colours where an image has bands; JPEGs are decoded no larger than
            the crop needs. "characters": small shifts, turns and stretches, and never a flip: a mirrored 2 is not a 2.
            "none": the plain resize of the whole image.
        rand_augment: Operations, and their magnitude from 0 to 30, of "photos"; 0 operations: none.
        crop_area: Smallest and largest share of an image that a crop of "photos" shows.
        spec: As `maxvit.data.images.decode` takes it.

    Returns:
        A module from anything that `maxvit.data.images.decode` reads to (C, H, W) uint8; it raises `MaxViTError` as
        `decode` does.
    """
    bilinear = InterpolationMode.BILINEAR
    if augmentation == "photos":
        aspect = size[1] / size[0]
        crop = RandomPiece(size, crop_area, (3 / 4 * aspect, 4 / 3 * aspect), spec)
        grey = [128] * max(3, spec.channels)
        operations = GeometricRandAugment if spec.takes_bands else v2.RandAugment
        steps: list[nn.Module] = [crop, v2.RandomHorizontalFlip()]
        if rand_augment[0]:
            steps.append(operations(*rand_augment, interpolation=bilinear, fill=grey))
        return nn.Sequential(*steps)
    if augmentation == "characters":
        moved = v2.RandomAffine(12, (0.1, 0.1), (0.85, 1.15), shear=(-10, 10, -5, 5), interpolation=bilinear)
        return _Resized(size, spec, moved)
    return _Resized(size, spec)


class GeometricRandAugment(v2.RandAugment):  # type: ignore[misc]
    """Without what changes colours: light and contrast mean something else in each band."""

    _AUGMENTATION_SPACE: ClassVar[dict[str, Any]] = {
        name: how
        for name, how in v2.RandAugment._AUGMENTATION_SPACE.items()
        if name in ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
    }


class _Resized(nn.Module):
    """The whole image, resized, which is done once for one that is `Kept`; then changed.

    torchvision looks in whatever it is given for what it can change, which takes longer than to change a small image;
    here it is asked for its two steps, the draw and the change.
    """

    def __init__(self, size: Size, spec: Preprocessing, change: v2.Transform | None = None) -> None:
        super().__init__()
        self.size, self.spec, self.change = size, spec, change

    def forward(self, source: Source) -> Tensor:
        """Anything that is an image -> (C, H, W) uint8."""
        picture: Any = once(source, self.size, self._resize)
        if isinstance(picture, Bands):
            bands = to_tensor(picture)
            return bands if self.change is None else self.change.transform(bands, self.change.make_params([bands]))
        if self.change is not None:
            picture = self.change.transform(picture, self.change.make_params([picture]))
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

    def _resize(self, stored: ImageLike) -> Picture:
        return without_tags(decode(stored, self.spec).resize(self.size[::-1], Image.Resampling.BICUBIC))

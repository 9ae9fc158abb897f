"""What training does to an image so that no epoch shows the same one twice."""

from PIL import Image
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from maxvit.config import Preprocessing, Size
from maxvit.data.images import PLAIN, ImageLike, decode
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
            paper's recipe; JPEGs are decoded no larger than the crop needs. "characters": small shifts, turns and
            stretches, and never a flip: a mirrored 2 is not a 2. "none": the plain resize of the whole image.
        rand_augment: Operations, and their magnitude from 0 to 30, of "photos"; 0 operations: none.
        crop_area: Smallest and largest share of an image that a crop of "photos" shows.
        spec: As `maxvit.data.images.decode` takes it.

    Returns:
        A module from anything that `maxvit.data.images.decode` reads to (3, H, W) uint8; it raises `MaxViTError` as
        `decode` does.
    """
    bicubic, bilinear = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR
    resize = v2.Resize(size, bicubic, antialias=True)
    if augmentation == "photos":
        aspect = size[1] / size[0]
        crop = RandomPiece(size, crop_area, (3 / 4 * aspect, 4 / 3 * aspect), spec)
        grey = [128, 128, 128]
        changed = v2.RandAugment(*rand_augment, interpolation=bilinear, fill=grey)
        return nn.Sequential(crop, v2.RandomHorizontalFlip(), changed)
    if augmentation == "characters":
        moved = v2.RandomAffine(12, (0.1, 0.1), (0.85, 1.15), shear=(-10, 10, -5, 5), interpolation=bilinear)
        return nn.Sequential(_Decode(spec), resize, moved, v2.PILToTensor())
    return nn.Sequential(_Decode(spec), resize, v2.PILToTensor())


class _Decode(nn.Module):
    """`decode` as the first of several modules."""

    def __init__(self, spec: Preprocessing) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, source: ImageLike) -> Image.Image:
        """Anything that is an image -> RGB."""
        return decode(source, self.spec)

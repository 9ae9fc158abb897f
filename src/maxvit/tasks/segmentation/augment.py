"""What training makes of an image and its mask: another scale, a piece, a mirror image, other colours."""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from maxvit.config import Preprocessing
from maxvit.data.bands import Bands, to_tensor
from maxvit.data.images import Source, decode
from maxvit.data.kept import once
from maxvit.data.transforms import normalise
from maxvit.tasks.segmentation.masks import IGNORED, MaskFile, read_mask
from maxvit.tasks.segmentation.settings import SegmentationSettings


def augment(
    settings: SegmentationSettings, spec: Preprocessing, source: Source, label: MaskFile
) -> tuple[Tensor, Tensor]:
    """A piece of `spec.image_size`, normalised, (C, H, W), and its classes (H, W) uint8.

    What is outside the image has the mean colour, and is ignored. It draws from PyTorch's random numbers.

    Raises:
        MaxViTError: If image or mask cannot be read.
    """
    decoded = decode(source, spec)
    mask = once(source, "mask", lambda _: read_mask(label, (decoded.height, decoded.width)))
    image = to_tensor(decoded) if isinstance(decoded, Bands) else decoded
    pixels, classes = _transform(settings, spec)(tv_tensors.Image(image), tv_tensors.Mask(mask))
    return normalise(spec, pixels.permute(1, 2, 0).numpy()), classes.as_subclass(Tensor).to(torch.uint8)


def _transform(settings: SegmentationSettings, spec: Preprocessing) -> v2.Compose:
    """A mask is resized to the nearest pixel, an image bilinearly."""
    shorter, longer = min(spec.image_size), max(spec.image_size)
    low, high = (max(1, round(shorter * factor)) for factor in settings.scale)
    mean = spec.mean * 3 if len(spec.mean) == 1 else spec.mean
    colour = [round(255 * value) for value in mean]
    steps: list[v2.Transform] = [
        v2.RandomShortestSize(range(low, high + 1), max_size=16 * longer),  # of a strip, not all of memory
        v2.RandomCrop(spec.image_size, pad_if_needed=True, fill={tv_tensors.Image: colour, tv_tensors.Mask: IGNORED}),
    ]
    if settings.flip:
        steps.append(v2.RandomHorizontalFlip())
    if settings.photometric and not spec.takes_bands:
        steps.append(_Photometric())
    return v2.Compose(steps)


class _Photometric(v2.RandomPhotometricDistort):  # type: ignore[misc]
    """Without torchvision's exchange of colour channels: a blue sky stays blue."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """What one image gets."""
        return super().make_params(flat_inputs) | {"channel_permutation": None}

"""What was painted of an image: how far it is from what was hidden, and as a picture."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Preprocessing
from maxvit.data.transforms import denormalise

Pixels = npt.NDArray[np.uint8]
LEVELS = 255  # from black to white
_GREY, _GAP = 128, 4


@dataclass(frozen=True, slots=True)
class Painting:
    """An image at the size that the network was shown it.

    Attributes:
        image: (H, W, 3).
        painted: Likewise; what was not hidden is as it was.
        hidden: (H, W) bool.
        error: Mean absolute error of the hidden pixels, in levels from 0 to 255.
        flat_error: That of one colour everywhere, the mean of what was not hidden.
    """

    image: Pixels
    painted: Pixels
    hidden: npt.NDArray[np.bool_]
    error: float
    flat_error: float


def paintings(spec: Preprocessing, images: Tensor, painted: Tensor, hidden: Tensor) -> list[Painting]:
    """One for each image.

    Args:
        spec: How images are normalised.
        images: (B, C, H, W), normalised, on any device.
        painted: Likewise.
        hidden: (B, 1, H, W) bool.
    """
    images, painted, hidden = images.detach().float().cpu(), painted.detach().float().cpu(), hidden.bool().cpu()
    levels = LEVELS * torch.tensor(spec.std).mean() if len(spec.std) == 1 else LEVELS * torch.tensor(spec.std)
    levels = levels.reshape(-1, 1, 1)
    visible = (~hidden).sum((2, 3), keepdim=True)
    flat = (images * ~hidden).sum((2, 3), keepdim=True) / visible  # (B, C, 1, 1)
    errors, flat_errors = (_mean(levels * (guess - images).abs(), hidden).tolist() for guess in (painted, flat))
    whole = torch.where(hidden, painted, images)
    rows = zip(denormalise(spec, images).numpy(), denormalise(spec, whole).numpy(), hidden[:, 0].numpy(), strict=True)
    return [Painting(*row, *both) for row, both in zip(rows, zip(errors, flat_errors, strict=True), strict=True)]


def _mean(errors: Tensor, hidden: Tensor) -> Tensor:
    """Of the hidden pixels of each image: (B, C, H, W) -> (B,)."""
    return (errors.mean(1, keepdim=True) * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3))


def masked_picture(painting: Painting) -> Image.Image:
    """The image as the network saw it: what was hidden is grey."""
    return Image.fromarray(np.where(painting.hidden[..., None], np.uint8(_GREY), painting.image))


def side_by_side(painting: Painting) -> Image.Image:
    """The image, the same with what was hidden in grey, and what was painted there."""
    three = Image.fromarray(painting.image), masked_picture(painting), Image.fromarray(painting.painted)
    width, height = three[0].size
    whole = Image.new("RGB", (3 * width + 2 * _GAP, height), "white")
    for i, picture in enumerate(three):
        whole.paste(picture, (i * (width + _GAP), 0))
    return whole

"""What was painted of an image: how far it is from what was hidden, and as a picture."""

from typing import TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Preprocessing
from maxvit.data.transforms import denormalise

LEVELS = 255  # from black to white
_GREY, _GAP = 128, 4


class Painting(TypedDict):
    """An image at the size that the network was shown it; plain, so that it can be kept in a file.

    Attributes:
        image: (H, W, 3) uint8.
        painted: Likewise; what was not hidden is as it was.
        hidden: (H, W) bool.
        error: Mean absolute error of the hidden pixels, in levels from 0 to 255.
        flat_error: That of one colour everywhere, the mean of what was not hidden.
    """

    image: Tensor
    painted: Tensor
    hidden: Tensor
    error: float
    flat_error: float


def paintings(spec: Preprocessing, images: Tensor, painted: Tensor, hidden: Tensor) -> list[Painting]:
    """One for each image.

    Args:
        spec: How images are normalised.
        images: (B, C, H, W), normalised, on any device.
        painted: Likewise.
        hidden: (B, 1, H, W) bool; an engine may have made numbers of it.
    """
    images, painted, hidden = images.detach().float().cpu(), painted.detach().float().cpu(), hidden.cpu().bool()
    levels = LEVELS * torch.tensor(spec.std)[:, None, None]
    flat = (images * ~hidden).sum((2, 3), keepdim=True) / (~hidden).sum((2, 3), keepdim=True)  # (B, C, 1, 1)
    errors, flat_errors = (_mean(levels * (guess - images).abs(), hidden).tolist() for guess in (painted, flat))
    whole = torch.where(hidden, painted, images)
    columns = denormalise(spec, images), denormalise(spec, whole), hidden[:, 0], errors, flat_errors
    return [
        Painting(image=image, painted=picture, hidden=where, error=error, flat_error=flat_error)
        for image, picture, where, error, flat_error in zip(*columns, strict=True)
    ]


def _mean(errors: Tensor, hidden: Tensor) -> Tensor:
    """The mean over the hidden pixels of each image: (B, C, H, W) -> (B,)."""
    return (errors.mean(1, keepdim=True) * hidden).sum((1, 2, 3)) / hidden.sum((1, 2, 3))


def masked_picture(painting: Painting) -> Image.Image:
    """The image as the network saw it: what was hidden is grey."""
    return Image.fromarray(painting["image"].masked_fill(painting["hidden"][..., None], _GREY).numpy())


def painted_picture(painting: Painting) -> Image.Image:
    """The image with what was painted."""
    return Image.fromarray(painting["painted"].numpy())


def side_by_side(painting: Painting) -> Image.Image:
    """The image, the same with what was hidden in grey, and what was painted there."""
    three = painting["image"].numpy(), np.asarray(masked_picture(painting)), painting["painted"].numpy()
    gap = np.full((len(three[0]), _GAP, 3), 255, np.uint8)
    return Image.fromarray(np.hstack([three[0], gap, three[1], gap, three[2]]))

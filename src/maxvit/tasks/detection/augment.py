"""What training makes of an image and its objects: another scale, another place, mirrored."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F
from torchvision.tv_tensors import BoundingBoxes, BoundingBoxFormat, Mask

from maxvit.config import Preprocessing
from maxvit.data.bands import Bands, Picture, to_tensor
from maxvit.data.transforms import normalise
from maxvit.tasks.protocols import Target

_SMALLEST = 1.0  # pixels; what is left of a box below that is no object any more


def jitter(
    spec: Preprocessing, image: Picture, truth: Target, scale: tuple[float, float], flip: bool
) -> tuple[Tensor, Target]:
    """Large-scale jitter: scaled by a draw, then cut or padded to size at a place that is drawn too.

    The piece is cut out before it is scaled, which saves the memory of a hundred masks at 2.5 times the size; so it
    begins and ends at whole pixels of the image. The padding has the mean colour, 0 once normalised.

    Args:
        spec: Size and normalisation.
        image: As decoded.
        truth: "boxes" (n, 4), "labels" (n,) and, if there are any, "masks" (n, H, W).
        scale: From and to, of the image that just fits `spec.image_size`.
        flip: Whether half of the images are mirrored.

    Returns:
        The image (C, H, W) of `spec.image_size`, and the truth of what is in it.
    """
    (height, width), (wanted_height, wanted_width) = (image.height, image.width), spec.image_size
    ratio = min(wanted_height / height, wanted_width / width)
    ratio *= scale[0] + (scale[1] - scale[0]) * float(torch.rand(()))
    top, piece_height, above, new_height = _place(height, wanted_height, ratio)
    left, piece_width, before, new_width = _place(width, wanted_width, ratio)
    below, after = wanted_height - above - new_height, wanted_width - before - new_width
    mirrored = flip and float(torch.rand(())) < 0.5

    method = InterpolationMode.BILINEAR if spec.interpolation == "bilinear" else InterpolationMode.BICUBIC
    mean = [round(255 * value) for value in spec.mean] * (3 if spec.channels == 1 else 1)
    pixels = tv_tensors.Image(to_tensor(image)) if isinstance(image, Bands) else image

    def moved(item: Any) -> Any:
        size = [new_height, new_width]
        # it cuts boxes at the border of the piece, so that none reaches into the padding
        fill = mean if item is pixels else 0
        item = F.resized_crop(item, top, left, piece_height, piece_width, size, interpolation=method)
        item = F.pad(item, [before, above, after, below], fill=fill)
        return F.horizontal_flip(item) if mirrored else item

    boxes = moved(BoundingBoxes(truth["boxes"], format=BoundingBoxFormat.XYXY, canvas_size=(height, width)))
    boxes = boxes.as_subclass(Tensor)
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= _SMALLEST).all(1)
    left_over = {"boxes": boxes[kept], "labels": truth["labels"][kept]}
    if "masks" in truth:
        left_over["masks"] = moved(Mask(truth["masks"][kept])).as_subclass(Tensor)
    changed = moved(pixels)
    seen = np.asarray(changed) if isinstance(changed, Image.Image) else changed.permute(1, 2, 0).numpy()
    return normalise(spec, seen), left_over


def _place(side: int, wanted: int, ratio: float) -> tuple[int, int, int, int]:
    """Along one side: where the piece begins and its length, in pixels of the image; the same two in the result."""
    piece = min(side, max(1, round(wanted / ratio)))
    new = min(wanted, max(1, round(piece * ratio)))
    start = int(torch.randint(side - piece + 1, ()))
    return start, piece, int(torch.randint(wanted - new + 1, ())), new

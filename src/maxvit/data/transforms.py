"""From an image to the normalised tensor that the network takes."""

from functools import cache
from math import log

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Preprocessing, Size
from maxvit.data.bands import Bands, Picture
from maxvit.data.images import ImageLike, crop, decode, opened, shrink, shrink_factor, upright, upright_size

_LARGE = 50_000_000  # pixels


def preprocess(spec: Preprocessing, image: ImageLike) -> Tensor:
    """What evaluation and prediction do to an image: decode, centre crop, resize, normalise.

    Args:
        spec: What the weights expect.
        image: Anything that `maxvit.data.images.decode` reads.

    Returns:
        (C, H, W) float32 with (H, W) = spec.image_size, or for fit "aspect" the size that `target_size` gives.

    Raises:
        MaxViTError: If it is not an image.
    """
    decoded = _decode(spec, image)
    size = target_size(spec, (decoded.height, decoded.width))
    piece = (decoded.height, decoded.width) if spec.fit == "squash" else size
    cropped = centre_crop(decoded, piece, spec.crop_pct)
    if spec.interpolation == "bicubic-tf1":
        pixels = resize_tf1(np.asarray(cropped), size)
    else:
        height, width = size
        method = Image.Resampling.BICUBIC if spec.interpolation == "bicubic" else Image.Resampling.BILINEAR
        pixels = np.asarray(cropped.resize((width, height), method), dtype=np.float32)
    return normalise(spec, pixels)


def _decode(spec: Preprocessing, image: ImageLike) -> Picture:
    """Whole; but of a file that is larger than cameras but few make, a JPEG is decoded at a part of its size."""
    if isinstance(image, np.ndarray | Image.Image | Bands):
        return decode(image, spec)
    with opened(image) as stored:
        if stored.width * stored.height > _LARGE:
            height, width = upright_size(stored)
            shrink(stored, shrink_factor((0, 0, height, width), (4 * spec.image_size[0], 4 * spec.image_size[1])))
        return upright(stored, spec)


def target_size(spec: Preprocessing, size: Size) -> Size:
    """The size in pixels that an image of `size` gets.

    With fit "aspect" it has about as many pixels as `spec.image_size`, and of all such sizes with sides that are
    multiples of 32 the nearest aspect ratio; so a data set has few sizes, and each fills batches.
    """
    if spec.fit != "aspect":
        return spec.image_size
    pixels, ratio = spec.image_size[0] * spec.image_size[1], size[0] / size[1]
    longest = max(spec.image_size) * 4  # aspect ratios up to about 16 to 1
    halves = [(side, max(32, round(pixels / side / 32) * 32)) for side in range(32, longest + 1, 32)]
    sizes = halves + [(width, height) for height, width in halves]
    return min(sizes, key=lambda s: abs(log(s[0] / s[1] / ratio)))


def normalise(spec: Preprocessing, pixels: npt.NDArray[np.generic]) -> Tensor:
    """(H, W, 3) with values 0..255 -> (C, H, W) float32; one channel if the weights expect grey. Or (H, W, C)."""
    chw = torch.from_numpy(np.array(pixels, dtype=np.float32)).permute(2, 0, 1).contiguous().div_(255.0)
    if len(spec.mean) == 1:
        chw = chw.mean(0, keepdim=True)
    return chw.sub_(_column(spec.mean)).div_(_column(spec.std))


def _column(values: tuple[float, ...]) -> Tensor:
    """(C, 1, 1) float32."""
    return torch.from_numpy(_column_of_numbers(values))


@cache
def _column_of_numbers(values: tuple[float, ...]) -> npt.NDArray[np.float32]:
    """NumPy's, as a tensor would depend on the mode that PyTorch was in the first time."""
    return np.array(values, np.float32)[:, None, None]


def denormalise(spec: Preprocessing, images: Tensor) -> Tensor:
    """Undo `normalise`, to the nearest pixels: (B, C, H, W) -> (B, H, W, 3) uint8, grey in all three.

    Of bands, those that are shown.
    """
    pixels = ((images.float() * _column(spec.std) + _column(spec.mean)) * 255.0).round().clamp(0, 255).to(torch.uint8)
    if spec.takes_bands:
        pixels = pixels[:, list(spec.shown)]
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()


def centre_crop(image: Picture, size: Size, fraction: float) -> Picture:
    """A centred piece with the aspect ratio of `size`, `fraction` of the largest one (official rounding)."""
    width, height = image.size
    scale = min(height / size[0], width / size[1]) * fraction
    crop_h, crop_w = max(1, int(size[0] * scale + 1e-6)), max(1, int(size[1] * scale + 1e-6))
    top, left = (height - crop_h + 1) // 2, (width - crop_w + 1) // 2
    return crop(image, (left, top, left + crop_w, top + crop_h))


def resize_tf1(pixels: npt.NDArray[np.uint8], size: Size) -> npt.NDArray[np.float32]:
    """Bicubic resize by TensorFlow 1's rules, as the official evaluation does: (h, w, C) -> (*size, C), 0..255.

    Output i reads the input at i * c / s (corners anchored), four taps of Keys' kernel with a = -0.75, positions
    rounded to 1/1024, borders clamped, no antialiasing, overshoot kept.
    """
    rows, columns = _taps(pixels.shape[0], size[0]), _taps(pixels.shape[1], size[1])
    wide = np.tensordot(rows, pixels.astype(np.float32), (1, 0))  # (H, w, C)
    return np.tensordot(columns, wide, (1, 1)).transpose(1, 0, 2)  # (H, W, C)


def _taps(source: int, target: int) -> npt.NDArray[np.float32]:
    """The weights of the inputs in each output, (target, source)."""
    at = np.arange(target) * np.float32(source / target)
    low = np.floor(at)
    offset = np.rint((at - low) * 1024) / 1024
    matrix = np.zeros((target, source))
    for tap in (-1, 0, 1, 2):
        x, a = np.abs(offset - tap), -0.75
        inner = ((a + 2) * x - (a + 3)) * x * x + 1
        outer = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        index = np.clip(low + tap, 0, source - 1).astype(np.int64)
        np.add.at(matrix, (np.arange(target), index), np.where(x <= 1, inner, outer))
    return matrix.astype(np.float32)

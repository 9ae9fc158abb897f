"""The images that a user hands to the network: checked before any work is done, and their sides for `torch.compile`."""

import torch
from torch import Tensor

from maxvit.config import SMALLEST_SIDE
from maxvit.errors import MaxViTError


def check_images(images: Tensor, in_channels: int, dtype: torch.dtype) -> None:
    """Check what a user hands to the network, before any work is done.

    Raises:
        MaxViTError: If the layout, the type, the number of channels or a side is wrong.
    """
    if images.ndim != 4 or images.shape[1] != in_channels:
        nhwc = images.ndim == 4 and images.shape[3] == in_channels
        hint = "; it looks like (B, H, W, C): permute(0, 3, 1, 2)" if nhwc else ""
        hint = hint or ("; add a batch axis: images[None]" if images.ndim == 3 else "")
        raise MaxViTError(
            f"images have shape {tuple(images.shape)}, but the network takes (B, {in_channels}, H, W){hint}"
        )
    if not images.is_floating_point():
        raise MaxViTError(f"images are {images.dtype}; the network takes normalised floats: see maxvit.preprocess")
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise MaxViTError(f"images are {images.dtype} and the weights {dtype}: use images.to({dtype}), or autocast")
    if min(images.shape[2:]) < SMALLEST_SIDE:
        size = f"{images.shape[2]} x {images.shape[3]}"
        raise MaxViTError(f"images are {size} pixels; the smallest side is {SMALLEST_SIDE}: resize them")


def fix_sides(images: Tensor) -> None:
    """Have `torch.compile` take the sides of images (B, C, H, W) as numbers, a graph for each; outside it, do nothing.

    Left to itself it makes symbols of them at the second size, and solves for an hour what padding and windows make of
    those. `dynamic=True` and `mark_dynamic` ask for symbols, and get them.
    """
    if not torch.compiler.is_dynamo_compiling() or torch.compiler.is_exporting():
        return
    if not (_dynamic() or hasattr(images, "_dynamo_dynamic_indices")):
        for axis in (2, 3):
            torch._dynamo.mark_static(images, axis)


def _dynamic() -> bool:
    """Whether the graph at hand is compiled with `dynamic=True`."""
    return not torch._dynamo.config.assume_static_by_default


# What `torch.compiler.assume_constant_result` does, without its import of the compiler, which takes a second.
_dynamic._dynamo_marked_constant = True  # type: ignore[attr-defined]

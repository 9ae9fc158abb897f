"""The images that a user hands to the network: checked before any work is done, and their sides for `torch.compile`."""

import torch
from torch import Tensor

from maxvit.config import SMALLEST_SIDE
from maxvit.errors import MaxViTError

TAKES = {1: "(B, {}, L)", 2: "(B, {}, H, W)", 3: "(B, {}, T, H, W)"}  # by the number of sides
OTHERS = {3: "sequences", 4: "images", 5: "volumes and video"}


def check_images(images: Tensor, in_channels: int, dtype: torch.dtype, dims: int = 2) -> None:
    """Check what a user hands to the network, before any work is done.

    Args:
        images: Of any shape.
        in_channels: What the network takes.
        dtype: That of its weights.
        dims: Sides of what it takes, see `MaxViTConfig.dims`.

    Raises:
        MaxViTError: If the layout, the type, the number of channels or a side is wrong.
    """
    if images.ndim != dims + 2 or images.shape[1] != in_channels:
        nhwc = images.ndim == dims + 2 == 4 and images.shape[3] == in_channels
        hint = "; it looks like (B, H, W, C): permute(0, 3, 1, 2)" if nhwc else ""
        if images.ndim == dims + 1 and images.shape[0] == in_channels:
            hint = "; add a batch axis: images[None]"
        elif images.ndim != dims + 2 and images.ndim in OTHERS:
            hint = f"; for {OTHERS[images.ndim]} make one of another number of dimensions: dims={images.ndim - 2}"
        takes = TAKES[dims].format(in_channels)
        raise MaxViTError(f"images have shape {tuple(images.shape)}, but the network takes {takes}{hint}")
    if not images.is_floating_point():
        raise MaxViTError(f"images are {images.dtype}; the network takes normalised floats: see maxvit.preprocess")
    if images.dtype != dtype and not torch.is_autocast_enabled(images.device.type):
        raise MaxViTError(f"images are {images.dtype} and the weights {dtype}: use images.to({dtype}), or autocast")
    if min(images.shape[2:][-2:]) < SMALLEST_SIDE:
        size = " x ".join(map(str, images.shape[2:]))
        raise MaxViTError(f"images are {size} pixels; the smallest side is {SMALLEST_SIDE}: resize them")


def fix_sides(images: Tensor) -> None:
    """Have `torch.compile` take the sides of (B, C, *sides) as numbers, a graph for each; outside it, do nothing.

    Left to itself it makes symbols of them at the second size, and solves for an hour what padding and windows make of
    those. `dynamic=True` and `mark_dynamic` ask for symbols, and get them.
    """
    if not torch.compiler.is_dynamo_compiling():
        return
    if not (_dynamic() or hasattr(images, "_dynamo_dynamic_indices")):
        for axis in range(2, images.ndim):
            torch._dynamo.mark_static(images, axis)


def _dynamic() -> bool:
    """Whether the graph at hand is exported, or compiled with `dynamic=True`."""
    return torch.compiler.is_exporting() or not torch._dynamo.config.assume_static_by_default


# What `torch.compiler.assume_constant_result` does, without its import of the compiler, which takes a second. Called
# by itself and not traced: traced by PyTorch 2.9, `is_exporting` is always True.
_dynamic._dynamo_marked_constant = True  # type: ignore[attr-defined]

"""What `torch.compile` makes of image sizes: a graph for each, unless one graph for all is asked for."""

import torch
from torch import Tensor


def fix_sides(images: Tensor) -> None:
    """Have the compiler take the sides of images (B, C, H, W) as numbers; outside of it, do nothing.

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

"""`torch.export`: the network as one graph, for fixed or for any sizes."""

import copy

import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor
from torch.export import Dim, ExportedProgram

from maxvit.config import Size
from maxvit.model import MaxViT


def export_program(
    model: MaxViT, image_size: Size | None = None, any_batch: bool = True, any_size: bool = False
) -> ExportedProgram:
    """Export the network, in evaluation mode, as a graph from images to logits.

    Args:
        model: It is left as it is.
        image_size: (height, width) of the images; None: the size it is made for. Of no matter with `any_size`.
        any_batch: The graph takes any number of images; False: one.
        any_size: It takes any height and width from 33 up (PyTorch 2.15 cannot express a last map of one position a
            side, which 32 pixels make): groups are then gathered by index and always masked, which is slower than a
            graph for one size. Windows stay as they are.

    Returns:
        A program whose `module()` is called as the network is.
    """
    model = copy.deepcopy(model).eval()
    model.set_any_size(any_size)
    free = ([0] if any_batch else []) + ([2, 3] if any_size else [])
    images = example(model, image_size, any_batch, any_size)
    # a side of one window is then no other case than a side of two (PyTorch has no public name for it yet)
    with fx_config.patch(backed_size_oblivious=any_size), torch.no_grad():  # type: ignore[attr-defined]
        return torch.export.export(
            model,
            (images,),
            dynamic_shapes=(dict.fromkeys(free, Dim.DYNAMIC),),
            prefer_deferred_runtime_asserts_over_guards=any_size,
        )


def example(model: MaxViT, image_size: Size | None, any_batch: bool, any_size: bool) -> Tensor:
    """Images to trace with: two where the number is free, and for any size one that divides by nothing."""
    height, width = image_size or model.config.image_size
    if any_size:
        height, width = 32 * model.config.window_size[0] + 76, 32 * model.config.window_size[1] + 193
    like = next(model.parameters())
    return like.new_zeros(2 if any_batch else 1, model.config.in_channels, height, width)

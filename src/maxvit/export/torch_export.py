"""`torch.export`: the network as one graph, for fixed or for any sizes."""

import copy
from pathlib import Path

import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from maxvit.config import Size
from maxvit.errors import MaxViTError
from maxvit.export.options import ExportOptions, description
from maxvit.layers.sharing import sharing_copy
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
    images = example(model, image_size, 2 if any_batch else 1, any_size)
    return _trace(model, images, ([0] if any_batch else []) + ([2, 3] if any_size else []), any_size)


def example(model: MaxViT, image_size: Size | None, batch: int, any_size: bool) -> Tensor:
    """Images to trace with; for any size, of one that divides by nothing."""
    height, width = image_size or model.config.image_size
    if any_size:
        height, width = 32 * model.config.window_size[0] + 76, 32 * model.config.window_size[1] + 193
    like = next(model.parameters())
    return like.new_zeros(batch, model.config.in_channels, height, width)


class _Whole(nn.Module):
    """What an exported file does: the network, and what is around it."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: MaxViT, form: ExportOptions) -> None:
        super().__init__()
        self.network, self.dtype, self.pixels = sharing_copy(model).to("cpu", form.dtype).eval(), form.dtype, False
        self.network.set_any_size(form.any_size)
        if form.from_pixels:
            self.pixels, self.grey = True, len(model.preprocessing.mean) == 1
            for name in ("mean", "std"):
                self.register_buffer(name, torch.tensor(getattr(model.preprocessing, name))[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, classes); or pixels (B, H, W, 3) uint8 -> probabilities."""
        if self.pixels:
            x = x.permute(0, 3, 1, 2) / 255.0
            x = ((x.mean(1, keepdim=True) if self.grey else x) - self.mean) / self.std
        y = self.network(x.to(self.dtype)).float()
        return self.network.config.probabilities(y) if self.pixels else y


def trace(model: MaxViT, form: ExportOptions) -> ExportedProgram:
    """The network in a form, for a file: the program uses the network's own memory.

    Args:
        model: It is left as it is, and must not change while the program is in use.
        form: What goes in and comes out, other than int8.
    """
    images = example(model, form.size(model), form.batch or 2, form.any_size).float().cpu()
    free = ([0] if form.batch is None else []) + ([2, 3] if form.any_size else [])
    if form.from_pixels:
        images = images.new_zeros(len(images), *images.shape[2:], 3, dtype=torch.uint8)
        free = [axis - 1 if axis else 0 for axis in free]
    return _trace(_Whole(model, form), images, free, form.any_size)


def check_program(form: ExportOptions) -> None:
    """Raises `MaxViTError` where the form is none of PyTorch's programs."""
    if form.precision == "int8":
        raise MaxViTError("int8 in PyTorch's programs is slower than fp32: export it for ONNX Runtime or OpenVINO")
    if form.opset is not None:
        raise MaxViTError("opset is of ONNX, and PyTorch's programs have operators of their own: leave it out")


def write_program(model: MaxViT, path: Path, form: ExportOptions) -> None:
    """Write a `.pt2` file, which `torch.export.load` reads; what it is lies in its `metadata`."""
    with open(path, "wb") as file:
        torch.export.save(trace(model, form), file, extra_files=description(model, form))


def _trace(network: nn.Module, images: Tensor, free: list[int], any_size: bool) -> ExportedProgram:
    # a side of one window is then no other case than a side of two (PyTorch has no public name for it yet)
    with fx_config.patch(backed_size_oblivious=any_size), torch.no_grad():  # type: ignore[attr-defined]
        return torch.export.export(
            network,
            (images,),
            dynamic_shapes=(dict.fromkeys(free, Dim.DYNAMIC),),
            prefer_deferred_runtime_asserts_over_guards=any_size,
        )

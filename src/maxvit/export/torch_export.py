"""`torch.export`: what a file computes as one graph, for fixed or for any sizes."""

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import torch
import torch.fx.experimental._config as fx_config
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from maxvit.config import Preprocessing
from maxvit.errors import MaxViTError
from maxvit.export.options import ExportOptions, description
from maxvit.layers.sharing import sharing_copy
from maxvit.model import MaxViT
from maxvit.tasks import task_for
from maxvit.tasks.network import Network, backbone_of, with_backbone
from maxvit.tasks.protocols import ExportSpec


def graph_of(network: Network, options: ExportOptions) -> ExportSpec:
    """What a file computes of prepared images, float32, on the CPU: a module that uses the network's own memory.

    Args:
        network: It is left as it is, and must not change while the module is in use.
        options: What comes out, and how it is computed, other than int8.
    """
    twin = sharing_copy(network).to("cpu", torch.float32).eval()
    backbone_of(twin).set_any_size(options.any_size)
    if options.dtype != torch.float32:
        twin = with_backbone(twin, cast(MaxViT, _InType(backbone_of(twin), options.dtype)))
    graph = task_for(network).export_spec(twin, options.from_pixels)
    return dataclasses.replace(graph, module=graph.module.eval())


class _InType(nn.Module):
    """A backbone that computes in another type, from float32 to float32."""

    def __init__(self, backbone: MaxViT, dtype: torch.dtype) -> None:
        super().__init__()
        self.backbone, self.dtype = backbone.to(dtype), dtype
        self.config, self.preprocessing = backbone.config, backbone.preprocessing

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.backbone(images.to(self.dtype))).float()

    def forward_novelty(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, novelty = self.backbone.forward_novelty(images.to(self.dtype))
        return logits.float(), novelty

    def forward_pyramid(self, images: Tensor, strides: Sequence[int]) -> list[Tensor]:
        return [level.float() for level in self.backbone.forward_pyramid(images.to(self.dtype), strides)]


class _FromPixels(nn.Module):
    """Pixels (B, H, W, 3) uint8 as images (B, C, H, W) for a module."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module, self.grey = module, len(preprocessing.mean) == 1
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(preprocessing, name))[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        x = pixels.permute(0, 3, 1, 2) / 255.0
        return self.module(((x.mean(1, keepdim=True) if self.grey else x) - self.mean) / self.std)


def trace(
    network: Network, options: ExportOptions, change: Callable[[nn.Module, Tensor], nn.Module] | None = None
) -> ExportedProgram:
    """A network as a program whose `module()` is called with images or pixels; it uses the network's own memory.

    For any size (PyTorch 2.15 cannot express a last map of one position a side, which 32 pixels make) groups are
    gathered by index and always masked, which is slower than a graph for one size. Windows stay as they are.

    Args:
        network: It is left as it is, and must not change while the program is in use.
        options: What goes in and comes out, other than int8.
        change: What is made of the module before, by what it takes; it may change it in place. None: it stays.
    """
    graph = graph_of(network, options)
    module = _FromPixels(graph.module, network.preprocessing) if options.from_pixels else graph.module
    any_batch = options.batch is None and graph.any_batch
    height, width = options.size(network)
    if options.any_size:  # a size that divides by nothing
        height, width = (32 * side + rest for side, rest in zip(network.config.window_size, (76, 193), strict=True))
    images = torch.zeros(options.batch or (2 if any_batch else 1), network.config.in_channels, height, width)
    sides = [1, 2] if options.from_pixels else [2, 3]
    if options.from_pixels:
        images = images.new_zeros(len(images), height, width, 3, dtype=torch.uint8)
    if change is not None:
        module = change(module, images)
    return program(module, images, [0] * any_batch + sides * options.any_size, options.any_size)


def program(module: nn.Module, inputs: Tensor, free: list[int], any_size: bool = False) -> ExportedProgram:
    """A module as a program; `free` axes of its input may be of any length.

    Raises:
        MaxViTError: If it is for any size, and PyTorch is older than 2.9.
    """
    if any_size and torch.__version__ < "2.9":
        raise MaxViTError(f"a file for any size needs PyTorch 2.9 or newer, and this is {torch.__version__}")
    with (
        # a side of one window is then no other case than a side of two (PyTorch has no public name for it yet)
        fx_config.patch(backed_size_oblivious=any_size),  # type: ignore[attr-defined]
        torch.no_grad(),
        warnings.catch_warnings(),
    ):
        # torchvision's non-maximum suppression names a size that depends on values by an older word
        warnings.filterwarnings("ignore", message=".*create_unbacked_symint", category=FutureWarning)
        shapes = (dict.fromkeys(free, Dim.DYNAMIC),)
        if not any_size:
            return torch.export.export(module, (inputs,), dynamic_shapes=shapes)
        return torch.export.export(
            module, (inputs,), dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
        )


def check_program(options: ExportOptions) -> None:
    """Raises `MaxViTError` where PyTorch's programs cannot be so."""
    if options.precision == "int8":
        raise MaxViTError("int8 in PyTorch's programs is slower than fp32: export it for ONNX Runtime or OpenVINO")
    if options.opset is not None:
        raise MaxViTError("opset is of ONNX, and PyTorch's programs have operators of their own: leave it out")


def write_program(network: Network, path: Path, options: ExportOptions) -> None:
    """Write a `.pt2` file, which `torch.export.load` reads; its description is in its extra files."""
    with open(path, "wb") as file:
        torch.export.save(trace(network, options), file, extra_files=description(network, options))

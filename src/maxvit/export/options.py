"""What an exported file takes, what it gives, and how it computes."""

import json
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from maxvit.config import Preprocessing, Size, check_known
from maxvit.errors import MaxViTError
from maxvit.kernels.folding import is_optimized
from maxvit.kernels.known import other_order
from maxvit.model import check_network
from maxvit.tasks import task_for
from maxvit.tasks.network import Network, backbone_of, has_own_head

Precision = Literal["fp32", "fp16", "bf16", "int8"]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.float32}
OPSETS = (17, 23)  # from LayerNormalization to Attention
BF16_OPSET = 22  # the first whose convolutions take it
SMALLEST_ANY = 33  # pixels, see maxvit.export.torch_export


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportOptions:
    """What an exported file takes, what it gives, and how it computes.

    Attributes:
        image_size: (height, width) of the images; None: that of the network's preprocessing.
        batch: Images at once; None: any number.
        any_size: It takes any height and width from 33 up instead; slower, and slow to make.
        precision: "fp32", "fp16" or "bf16": of weights and computation, in and out is float32 always; a task's own
            head computes in fp32. "int8": products of matrices in 8 bits, the rest in fp32.
        from_pixels: Pixels (B, H, W, 3) uint8 in, and out what the task gives: of a classifier probabilities (softmax,
            multi-label sigmoid). Else preprocessed images (B, C, H, W) in; out of a classifier logits. Resizing is not
            part of either: the preprocessing in the file says how it is done.
        opset: ONNX operators of this set alone, 17 to 23, within what TensorRT documents; None: as ONNX Runtime is
            fastest with.

    Raises:
        MaxViTError: If a value is unknown, or two do not fit together.
    """

    image_size: Size | None = None
    batch: int | None = None
    any_size: bool = False
    precision: Precision = "fp32"
    from_pixels: bool = False
    opset: int | None = None

    def __post_init__(self) -> None:
        check_known("precision", [self.precision], get_args(Precision))
        if self.batch is not None and (type(self.batch) is not int or self.batch < 1):
            raise MaxViTError(f"batch is {self.batch!r}; it takes a whole number from 1 up, or None for any")
        if self.opset is not None and (type(self.opset) is not int or not OPSETS[0] <= self.opset <= OPSETS[1]):
            raise MaxViTError(f"opset is {self.opset!r}; it takes {OPSETS[0]} to {OPSETS[1]}")
        if self.precision == "bf16" and self.opset is not None and self.opset < BF16_OPSET:
            raise MaxViTError(f"convolutions in bf16 are part of opset {BF16_OPSET}, and {self.opset} was asked for")
        if self.any_size and self.image_size is not None:
            raise MaxViTError("a file for any size has no size of its own: leave image_size or any_size out")
        if self.any_size and self.precision == "int8":
            raise MaxViTError("int8 is for images of one size: leave any_size out, or choose another precision")
        if self.any_size and self.opset is not None:
            raise MaxViTError("a file for any size has an opset of its own: leave opset out, or any_size")

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights that are not in 8 bits."""
        return DTYPES[self.precision]

    @property
    def input(self) -> str:
        """The name of what goes in."""
        return "pixels" if self.from_pixels else "images"

    def size(self, network: Network) -> Size:
        """(height, width) of the images of this network."""
        return self.image_size or network.preprocessing.image_size

    def spec(self, network: Network) -> Preprocessing:
        """What the file expects of an image: see `squeezes`."""
        if self.any_size:
            return network.preprocessing
        fit = "squash" if self.squeezes(network) else network.preprocessing.fit
        return replace(network.preprocessing, image_size=self.size(network), fit=fit)

    def squeezes(self, network: Network) -> bool:
        """Whether the file takes images of one size where the network takes them in their own shape."""
        keeps = network.preprocessing.fit == "aspect" and not self.any_size
        return keeps and not task_for(network).export_spec(network).of_pieces

    def is_traced(self, network: Network) -> bool:
        """Whether the graph is traced by PyTorch; else it is written layer by layer, from what a MaxViT is."""
        return self.any_size or not has_own_head(network) or _has_own_order(network)

    def check(self, network: Network) -> None:
        """Refuse a network that cannot be exported so.

        Raises:
            MaxViTError: If it is none of this package or optimised already, or its task has no such graph; if its
                pixels cannot be normalised; if its head is a task's own and the file would be for any size, in 8 bits
                or of an opset; if its blocks have another order and the file would be in 8 bits or of an opset; if it
                is a MaxViT whose images keep their shapes, and the file is for one size.
        """
        check_network(network)
        backbone = backbone_of(network)
        if backbone.config.dims != 2:
            raise MaxViTError(f"files are for images, and the network takes maps of {backbone.config.dims} sides")
        if is_optimized(backbone):
            raise MaxViTError("the network is optimised already: export the original")
        if self.from_pixels and backbone.config.in_channels not in (1, 3):
            raise MaxViTError(f"the network has {backbone.config.in_channels} channels, and pixels make 1 or 3 of them")
        task = task_for(network)
        task.export_spec(network, self.from_pixels)
        asked = {"any_size": self.any_size, "int8": self.precision == "int8", "opset": self.opset is not None}
        if not has_own_head(network):
            for name in (name for name, given in asked.items() if given):
                raise MaxViTError(f"{name} is for a MaxViT with its own head, and this one has a head of {task.name}")
        elif _has_own_order(network) and (self.precision == "int8" or self.opset is not None):
            name = "int8" if self.precision == "int8" else "opset"
            raise MaxViTError(
                f"{name} is for networks whose blocks are MBConv, block attention, grid attention (CBG); here they are "
                f"{', '.join(sorted(set(backbone.config.block_orders)))}"
            )
        elif self.squeezes(network):
            raise MaxViTError(
                "the network's images keep their shapes, and a file for one size takes one: export it for any size, or "
                "run it in PyTorch"
            )


def _has_own_order(network: Network) -> bool:
    """Whether blocks are not MBConv, block and grid attention, which the graph for one size alone knows."""
    return bool(other_order(backbone_of(network).config))


def description(network: Network, options: ExportOptions) -> dict[str, str]:
    """The metadata of a file, each value as JSON."""
    known = {**network.metadata(), "preprocessing": options.spec(network).to_dict(), "precision": options.precision}
    return {key: json.dumps(value) for key, value in known.items()}

"""What an exported file takes, what it gives, and how it computes."""

import json
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from maxvit.config import Preprocessing, Size, check_known
from maxvit.errors import MaxViTError
from maxvit.kernels.folding import is_optimized
from maxvit.model import MaxViT

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
        precision: "fp32", "fp16" or "bf16": of weights and computation, in and out is float32 always. "int8": products
            of matrices in 8 bits, the rest in fp32.
        from_pixels: Pixels (B, H, W, 3) uint8 in, probabilities out (softmax; of a multi-label network sigmoid); else
            preprocessed images (B, C, H, W) in, logits out. Resizing is not part of either: the preprocessing in the
            file says how it is done.
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
        """Of weights that are not in 8 bits."""
        return DTYPES[self.precision]

    @property
    def input(self) -> str:
        """The name of what goes in."""
        return "pixels" if self.from_pixels else "images"

    @property
    def output(self) -> str:
        """The name of what comes out."""
        return "probabilities" if self.from_pixels else "logits"

    def size(self, model: MaxViT) -> Size:
        """(height, width) of the images of this network."""
        return self.image_size or model.preprocessing.image_size

    def spec(self, model: MaxViT) -> Preprocessing:
        """What the file expects of an image."""
        return model.preprocessing if self.any_size else replace(model.preprocessing, image_size=self.size(model))

    def check(self, model: MaxViT) -> None:
        """Refuse a network that cannot be exported so.

        Raises:
            MaxViTError: If it is optimised already or has no pool. Of pixels, if they cannot be normalised or it has no
                classes; of one size, if its images keep their shapes.
        """
        if is_optimized(model):
            raise MaxViTError("the network is optimised already: export the original")
        if not model.config.pool:
            raise MaxViTError("the network has no pool, and its files hold one: choose one with set_pool('avg')")
        if self.from_pixels and (model.config.in_channels not in (1, 3) or not model.config.num_classes):
            reason = f"{model.config.in_channels} channels" if model.config.num_classes else "no classifier"
            raise MaxViTError(f"the network has {reason}, and pixels to probabilities needs 1 or 3, and classes")
        if model.preprocessing.fit == "aspect" and not self.any_size:
            raise MaxViTError("the network's images keep their shapes, and a file for one size takes one: use any_size")


def description(model: MaxViT, form: ExportOptions) -> dict[str, str]:
    """The metadata of a file, each value as JSON."""
    known = {**model.metadata(), "preprocessing": form.spec(model).to_dict(), "precision": form.precision}
    return {key: json.dumps(value) for key, value in known.items()}

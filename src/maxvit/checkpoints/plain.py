"""Our own tensors without a description, as `torch.save(model.state_dict(), ...)` leaves them."""

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from maxvit.checkpoints.name_table import FIRST_TABLE, NameTable, Shapes, config_from, shape_of
from maxvit.config import (
    TORCHVISION,
    VARIANTS,
    MaxViTConfig,
    Preprocessing,
    Size,
    official_preprocessing,
    variant_name,
)

_NAMES = NameTable(block="stages.{s}.{b}", inside={}, outside={})


def is_plain(names: Mapping[str, object]) -> bool:
    """Whether these are our own names."""
    return "stages.0.0.mbconv.project.weight" in names


def from_plain(
    state: Mapping[str, Tensor], image_size: int | Size | None = None
) -> tuple[MaxViTConfig, Preprocessing, dict[str, Tensor]]:
    """What our own tensors say of their network, and what of it is assumed: see `assumed`.

    Raises:
        MaxViTError: If a tensor that tells it is missing or of another shape.
    """
    config = infer_config({name: tuple(t.shape) for name, t in state.items()})
    if image_size is not None:
        config = config.resized(image_size)
    return config, official_preprocessing(config.image_size, imagenet_21k=config.num_classes > 1000), dict(state)


def assumed(config: MaxViTConfig) -> str:
    """What our own tensors do not say of a network that was found by them, in words."""
    meaning = "each class by itself (sigmoid)" if config.multi_label else "one class of many (softmax)"
    return (
        f"{meaning}, windows as large as the bias tables say, average pooling and the official preprocessing, which "
        "are not stored"
    )


def infer_config(shapes: Shapes) -> MaxViTConfig:
    """The configuration, from names and shapes alone; the side of the bias tables says the resolution.

    Raises:
        MaxViTError: If a tensor that tells it is missing or of another shape.
    """
    heads, height, width = shape_of(shapes, FIRST_TABLE, 3)
    config = config_from(shapes, _NAMES, heads, (height, width))
    # torchvision's arithmetic alone has a layer there where the channels do not change
    widths = zip((config.stem_channels, *config.channels[:3]), config.channels, strict=True)
    if any(f"stages.{s}.0.mbconv.shortcut.conv.weight" in shapes for s, (a, b) in enumerate(widths) if a == b):
        config = dataclasses.replace(config, arithmetic=TORCHVISION)
    variant = VARIANTS.get(variant_name(config) or "")
    if variant is not None and variant.window_size == config.window_size:  # also where its last map is below a window
        config = dataclasses.replace(config, image_size=variant.image_size)
    return config

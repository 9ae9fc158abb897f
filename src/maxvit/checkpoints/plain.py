"""Our own tensors without a description, as `torch.save(model.state_dict(), ...)` leaves them."""

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from maxvit.checkpoints.name_table import NameTable, Shapes, config_from, dialect_from, first_bias, shape_of
from maxvit.config import (
    TORCHVISION,
    VARIANTS,
    MaxViTConfig,
    Preprocessing,
    Sides,
    official_preprocessing,
    variant_name,
)

_NAMES = NameTable(block="stages.{s}.{b}", inside={}, outside={})


def is_plain(names: Mapping[str, object]) -> bool:
    """Whether these are our own names."""
    return "stages.0.0.mbconv.project.weight" in names or "stages.0.0.mbconv1.project.weight" in names


def from_plain(
    state: Mapping[str, Tensor], image_size: int | Sides | None = None
) -> tuple[MaxViTConfig, Preprocessing, dict[str, Tensor]]:
    """What our own tensors say of their network, and what of it is assumed: see `assumed`.

    Raises:
        MaxViTError: If a tensor that tells it is missing or of another shape.
    """
    config = infer_config({n: tuple(t.shape) for n, t in state.items() if not n.startswith("novelty.")})
    if "novelty.centres" in state:
        config = dataclasses.replace(config, novelty_centres=len(state["novelty.centres"]))
    if image_size is not None:
        config = config.resized(image_size)
    return config, official_preprocessing(config.frame_size, imagenet_21k=config.num_classes > 1000), dict(state)


def assumed(config: MaxViTConfig) -> str:
    """What our own tensors do not say of a network that was found by them, in words."""
    meaning = "each class by itself (sigmoid)" if config.multi_label else "one class of many (softmax)"
    windows = "as large as the bias tables say"
    if config.dialect.position_bias == "mlp":
        windows = f"for images of {config.image_size[0]} x {config.image_size[1]} pixels"
    parts = "block and grid attention in this order, " if config.block_orders == ("CBG",) * 4 else ""
    return f"{meaning}, windows {windows}, {parts}average pooling and the official preprocessing, which are not stored"


def infer_config(shapes: Shapes) -> MaxViTConfig:
    """The configuration, from names and shapes alone; the side of the bias tables says the resolution.

    Raises:
        MaxViTError: If a tensor that tells it is missing or of another shape.
    """
    dialect = dialect_from(shapes, _NAMES)
    if dialect.position_bias == "mlp":  # it is the same for windows of any size
        heads, height, width = shape_of(shapes, first_bias(dialect), 2)[0], 13, 13
    else:
        heads, height, width = shape_of(shapes, first_bias(dialect), 3)
    config = config_from(shapes, _NAMES, heads, (height, width), dialect)
    # torchvision's dialect alone has a layer there where the channels do not change
    widths = zip((config.stem_channels, *config.channels[:3]), config.channels, strict=True)
    if any(f"stages.{s}.0.mbconv.shortcut.conv.weight" in shapes for s, (a, b) in enumerate(widths) if a == b):
        config = dataclasses.replace(config, dialect=TORCHVISION)
    variant = VARIANTS.get(variant_name(config) or "")
    if variant is not None and dialect.position_bias == "mlp":
        config = dataclasses.replace(config.resized(variant.image_size), bias_table_size=None)
    elif variant is not None and variant.window_size == config.window_size:  # also where its last map is below a window
        config = dataclasses.replace(config, image_size=variant.image_size)
    return config

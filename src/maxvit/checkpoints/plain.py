"""Our own tensors without a description, as `torch.save(model.state_dict(), ...)` leaves them."""

import dataclasses
from collections.abc import Mapping

from torch import Tensor

from maxvit.checkpoints.name_table import NameTable, Shapes, count_blocks, shape_of
from maxvit.config import (
    IMAGENET_21K,
    OFFICIAL,
    TORCHVISION,
    VARIANTS,
    MaxViTConfig,
    Preprocessing,
    Size,
    official_preprocessing,
    variant_name,
    with_published_drop_path,
)
from maxvit.errors import MaxViTError

_NAMES = NameTable(block="stages.{s}.{b}", inside={}, outside={})
_FIRST = "stages.0.0"


def is_plain(names: Mapping[str, object]) -> bool:
    """Whether these are our own names."""
    return f"{_FIRST}.mbconv.project.weight" in names


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
    depths, channels = count_blocks(shapes, _NAMES, "mbconv.project")
    if len(channels) != 4:
        raise MaxViTError(f"it has {len(channels)} stages, and a MaxViT has 4")
    stem = shape_of(shapes, "stem.conv1.weight", 4)
    expand = shape_of(shapes, f"{_FIRST}.mbconv.expand.weight", 4)
    squeezed = [shape_of(shapes, f"stages.{s}.0.mbconv.se.reduce.weight", 4)[0] for s in range(4)]
    heads, height, width = shape_of(shapes, f"{_FIRST}.block_attention.attention.bias.table", 3)
    window = ((height + 1) // 2, (width + 1) // 2)
    classifier = "head.classifier.weight"
    classes = shape_of(shapes, classifier, 2)[0] if classifier in shapes else 0
    # torchvision's arithmetic alone has a layer there where the channels do not change
    widths = zip((stem[0], *channels[:3]), channels, strict=True)
    projects = [f"stages.{s}.0.mbconv.shortcut.conv.weight" in shapes for s, (a, b) in enumerate(widths) if a == b]
    config = with_published_drop_path(
        MaxViTConfig(
            stem_channels=stem[0],
            in_channels=stem[1],
            channels=channels,
            depths=depths,
            head_dim=channels[0] // heads,
            expansion=expand[0] // channels[0],
            se_ratio=_ratio(squeezed, channels),
            window_size=window,
            grid_size=window,
            bias_table_size=(height, width),
            num_classes=classes,
            multi_label=classes == IMAGENET_21K,
            image_size=(window[0] * 32, window[1] * 32),
            arithmetic=TORCHVISION if any(projects) else OFFICIAL,
        )
    )
    variant = VARIANTS.get(variant_name(config) or "")
    if variant is not None and variant.window_size == window:  # also of images whose last map is below a window
        config = dataclasses.replace(config, image_size=variant.image_size)
    return config


def _ratio(squeezed: list[int], channels: tuple[int, ...]) -> float:
    """The smallest that gives so many channels, of which there is at least one."""
    return max((s / c for s, c in zip(squeezed, channels, strict=True) if s > 1), default=1 / channels[-1])

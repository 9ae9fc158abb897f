"""The named networks."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from maxvit.config.dialect import TIMM_RMLP
from maxvit.config.network import MaxViTConfig

# Paper, Table 1; the drop rates are the official ImageNet-1K ones (none is published for XL: that of L is taken).
# `maxvit_micro` is ours, for small images: at 32 pixels its stages see 8, 4, 2 and 1 tokens a side.
# `maxvit_pico` and `maxvit_nano` are timm's, in the dialect of the weights that are published for both, those of
# maxvit_rmlp_pico_rw_256 and maxvit_rmlp_nano_rw_256; no drop rate is published for them: half of T's is taken. timm's
# networks in other sizes have the blocks of the paper's variants in another dialect, and are found by timm's names.
VARIANTS: Mapping[str, MaxViTConfig] = MappingProxyType(
    {
        "maxvit_micro": MaxViTConfig(
            stem_channels=32,
            channels=(32, 64, 96, 128),
            depths=(1, 2, 1, 1),
            window_size=(4, 4),
            grid_size=(4, 4),
            drop_path_rate=0.1,
            num_classes=10,
            image_size=(32, 32),
        ),
        "maxvit_pico": MaxViTConfig(
            stem_channels=32,
            stem_hidden_channels=24,
            channels=(32, 64, 128, 256),
            window_size=(8, 8),
            grid_size=(8, 8),
            drop_path_rate=0.1,
            image_size=(256, 256),
            dialect=TIMM_RMLP,
        ),
        "maxvit_nano": MaxViTConfig(
            stem_hidden_channels=32,
            depths=(1, 2, 3, 1),
            window_size=(8, 8),
            grid_size=(8, 8),
            drop_path_rate=0.1,
            image_size=(256, 256),
            dialect=TIMM_RMLP,
        ),
        "maxvit_tiny": MaxViTConfig(drop_path_rate=0.2),
        "maxvit_small": MaxViTConfig(channels=(96, 192, 384, 768), drop_path_rate=0.3),
        "maxvit_base": MaxViTConfig(channels=(96, 192, 384, 768), depths=(2, 6, 14, 2), drop_path_rate=0.4),
        "maxvit_large": MaxViTConfig(
            stem_channels=128, channels=(128, 256, 512, 1024), depths=(2, 6, 14, 2), drop_path_rate=0.6
        ),
        "maxvit_xlarge": MaxViTConfig(
            stem_channels=192, channels=(192, 384, 768, 1536), depths=(2, 6, 14, 2), drop_path_rate=0.6
        ),
    }
)


def variant_name(config: MaxViTConfig) -> str | None:
    """The name of the variant whose blocks these are, whatever its images, windows and classes; None: of none."""
    shape = _blocks(config)
    return next((name for name, variant in VARIANTS.items() if _blocks(variant) == shape), None)


def _blocks(config: MaxViTConfig) -> tuple[Any, ...]:
    return (config.stem_channels, config.channels, config.depths, config.head_dim, config.expansion, config.se_ratio)


def with_published_drop_path(config: MaxViTConfig) -> MaxViTConfig:
    """For weights of other packages: fine-tuning goes on with the variant's own drop rate, which no file holds."""
    name = variant_name(config)
    return dataclasses.replace(config, drop_path_rate=VARIANTS[name].drop_path_rate) if name else config

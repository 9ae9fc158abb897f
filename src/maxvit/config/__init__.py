"""What a MaxViT is made of, as frozen data: the network's shape, its preprocessing, and the named variants."""

from maxvit.config.checks import SMALLEST_SIDE, check_known
from maxvit.config.dialect import DIALECTS, OFFICIAL, TIMM_RW, TORCHVISION, Dialect
from maxvit.config.network import SIDE_NAMES, THRESHOLD, MaxViTConfig, Pool, Sides, class_probabilities
from maxvit.config.order import check_order, check_orders
from maxvit.config.preprocessing import (
    IMAGENET_21K,
    MOST_BANDS,
    Fit,
    Preprocessing,
    Range,
    Size,
    official_preprocessing,
)
from maxvit.config.variants import VARIANTS, variant_name, with_published_drop_path

__all__ = [
    "DIALECTS",
    "IMAGENET_21K",
    "MOST_BANDS",
    "OFFICIAL",
    "SIDE_NAMES",
    "SMALLEST_SIDE",
    "THRESHOLD",
    "TIMM_RW",
    "TORCHVISION",
    "VARIANTS",
    "Dialect",
    "Fit",
    "MaxViTConfig",
    "Pool",
    "Preprocessing",
    "Range",
    "Sides",
    "Size",
    "check_known",
    "check_order",
    "check_orders",
    "class_probabilities",
    "official_preprocessing",
    "variant_name",
    "with_published_drop_path",
]

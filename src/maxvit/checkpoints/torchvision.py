"""torchvision's `maxvit_t`: another dialect (see `maxvit.config.TORCHVISION`), another scale, another table."""

from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor

from maxvit.checkpoints.name_table import (
    FIRST_TABLE,
    NameTable,
    Shapes,
    config_from,
    rename,
    shape_of,
    table_of_rows,
)
from maxvit.checkpoints.published import torchvision_preprocessing
from maxvit.config import TORCHVISION, MaxViTConfig, Preprocessing
from maxvit.errors import MaxViTError

_ATTENTION = {
    "norm1": "attn_layer.0",
    "attention.qkv": "attn_layer.1.to_qkv",
    "attention.bias.table": "attn_layer.1.relative_position_bias_table",
    "attention.proj": "attn_layer.1.merge",
    "norm2": "mlp_layer.0",
    "ffn.expand": "mlp_layer.1",
    "ffn.project": "mlp_layer.3",
}
_LAYERS = "layers.MBconv.layers"
NAMES = NameTable(
    block="blocks.{s}.layers.{b}",
    inside={
        "mbconv.pre_norm": f"{_LAYERS}.pre_norm",
        "mbconv.expand": f"{_LAYERS}.conv_a.0",
        "mbconv.expand_norm": f"{_LAYERS}.conv_a.1",
        "mbconv.depthwise": f"{_LAYERS}.conv_b.0",
        "mbconv.depthwise_norm": f"{_LAYERS}.conv_b.1",
        "mbconv.se.reduce": f"{_LAYERS}.squeeze_excitation.fc1",
        "mbconv.se.expand": f"{_LAYERS}.squeeze_excitation.fc2",
        "mbconv.project": f"{_LAYERS}.conv_c",
        "mbconv.shortcut.conv": "layers.MBconv.proj.1",
        **{f"block_attention.{ours}": f"layers.window_attention.{theirs}" for ours, theirs in _ATTENTION.items()},
        **{f"grid_attention.{ours}": f"layers.grid_attention.{theirs}" for ours, theirs in _ATTENTION.items()},
    },
    outside={
        "stem.conv1": "stem.0.0",
        "stem.norm": "stem.0.1",
        "stem.conv2": "stem.1.0",
        "head.norm": "classifier.2",
        "head.dense": "classifier.3",
        "head.classifier": "classifier.5",
    },
)
_MARK = "blocks.0.layers.0.layers.window_attention.attn_layer.1.to_qkv.weight"
_NO_BIAS = ("stem.0.0.bias", "classifier.5.bias")  # layers that have none there: zeros here compute the same


def is_torchvision(names: Mapping[str, object]) -> bool:
    """Whether these are names of torchvision's MaxViT."""
    return _MARK in names


def from_torchvision(state: Mapping[str, Tensor]) -> tuple[MaxViTConfig, Preprocessing, dict[str, Tensor]]:
    """torchvision's tensors to ours.

    Raises:
        MaxViTError: If a tensor is missing or left over.
    """
    state = {name: t for name, t in state.items() if not name.endswith("relative_position_index")}
    config = infer_config({name: tuple(t.shape) for name, t in state.items()})
    for bias in _NO_BIAS:
        weight = state[bias.replace("bias", "weight")]
        state[bias] = torch.zeros(len(weight), dtype=weight.dtype)
    ours = rename(state, NAMES.pairs(config), "torchvision")
    for name, tensor in ours.items():
        if name.endswith("bias.table"):
            ours[name] = table_of_rows(tensor, config.window_size)
        elif ".qkv." in name:
            ours[name] = _queries(tensor, config.head_dim)
    return config, torchvision_preprocessing(config.frame_size), ours


def _queries(tensor: Tensor, head_dim: int) -> Tensor:
    """It scales by width ** -0.5, we by head_dim ** -0.5: the ratio goes into the queries' rows."""
    if tensor.ndim == 0 or len(tensor) < 3:
        raise MaxViTError(
            f"a projection to queries, keys and values has shape {tuple(tensor.shape)}, and at least 3 "
            "rows are needed: copy the file again"
        )
    width = len(tensor) // 3
    return torch.cat([tensor[:width] * (head_dim / width) ** 0.5, tensor[width:]])


def infer_config(shapes: Shapes) -> MaxViTConfig:
    """The configuration, from names and shapes alone.

    Raises:
        MaxViTError: If a tensor that tells it is missing or of another shape.
    """
    offsets, heads = shape_of(shapes, NAMES.theirs(FIRST_TABLE), 2)
    shape_of(shapes, NAMES.theirs("head.classifier.weight"), 2)  # there is no network without it
    side = isqrt(offsets)
    return config_from(shapes, NAMES, heads, (side, side), TORCHVISION)

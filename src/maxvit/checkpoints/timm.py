"""timm's `maxvit_*_tf_*`: the official network under other names, with bias tables of the window's own size."""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from maxvit.checkpoints.published import timm_preprocessing
from maxvit.checkpoints.renaming import NameTable, Shapes, count_blocks, rename
from maxvit.config import MaxViTConfig, Preprocessing, with_published_drop_path
from maxvit.errors import MaxViTError

_ATTENTION = {
    "norm1": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.bias.table": "attn.rel_pos.relative_position_bias_table",
    "attention.proj": "attn.proj",
    "norm2": "norm2",
    "ffn.expand": "mlp.fc1",
    "ffn.project": "mlp.fc2",
}
NAMES = NameTable(
    block="stages.{s}.blocks.{b}",
    inside={
        "mbconv.pre_norm": "conv.pre_norm",
        "mbconv.expand": "conv.conv1_1x1",
        "mbconv.expand_norm": "conv.norm1",
        "mbconv.depthwise": "conv.conv2_kxk",
        "mbconv.depthwise_norm": "conv.norm2",
        "mbconv.se.reduce": "conv.se.fc1",
        "mbconv.se.expand": "conv.se.fc2",
        "mbconv.project": "conv.conv3_1x1",
        "mbconv.shortcut.conv": "conv.shortcut.expand",
        **{f"block_attention.{ours}": f"attn_block.{theirs}" for ours, theirs in _ATTENTION.items()},
        **{f"grid_attention.{ours}": f"attn_grid.{theirs}" for ours, theirs in _ATTENTION.items()},
    },
    outside={
        "stem.conv1": "stem.conv1",
        "stem.norm": "stem.norm1",
        "stem.conv2": "stem.conv2",
        "head.norm": "head.norm",
        "head.dense": "head.pre_logits.fc",
        "head.classifier": "head.fc",
    },
)
_MARK = "stages.0.blocks.0.attn_block.attn.qkv.weight"  # a name that no other format has


def is_timm(names: Mapping[str, object]) -> bool:
    """Whether these are names of a MaxViT of timm, of whatever kind."""
    return _MARK in names


def from_timm(state: Mapping[str, Tensor]) -> tuple[MaxViTConfig, Preprocessing, dict[str, Tensor]]:
    """timm's tensors to ours.

    Raises:
        MaxViTError: If it is not one of the `_tf_` variants, which alone are the official network.
    """
    config = infer_config({name: tuple(t.shape) for name, t in state.items()})
    ours = rename(state, NAMES.pairs(config), "timm")
    return config, timm_preprocessing(config.image_size, config.num_classes), ours


def to_timm(state: Mapping[str, Tensor], config: MaxViTConfig) -> dict[str, Tensor]:
    """Our tensors to timm's. The bias tables are resized to the windows, as timm's model wants them."""
    result = {}
    for ours, theirs in NAMES.pairs(config).items():
        tensor = state[ours]
        if ours.endswith("bias.table"):
            size = config.window_size if ".block_attention." in ours else config.grid_size
            tensor = resized_table(tensor, size)
        result[theirs] = tensor
    return result


def resized_table(table: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, ., .) -> (N, 2h - 1, 2w - 1), bilinearly, as the network does on every use."""
    wanted = (2 * size[0] - 1, 2 * size[1] - 1)
    if tuple(table.shape[1:]) == wanted:
        return table
    return F.interpolate(table[:, None], wanted, mode="bilinear", align_corners=False)[:, 0]


def infer_config(shapes: Shapes) -> MaxViTConfig:
    """The configuration, from names and shapes alone; the side of the bias tables says the resolution.

    Raises:
        MaxViTError: If it is a MaxViT of timm, but not the official network.
    """
    depths, channels = count_blocks(shapes, NAMES, "conv.conv3_1x1")
    try:
        table = shapes["stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table"]
        expand = shapes["stages.0.blocks.0.conv.conv1_1x1.weight"]
        squeeze = shapes["stages.0.blocks.0.conv.se.fc1.weight"]
        stem = shapes["stem.conv1.weight"]
        shapes["head.pre_logits.fc.weight"], shapes["stages.0.blocks.0.conv.pre_norm.weight"]
        heads, height, width = table
    except (KeyError, ValueError) as error:
        raise MaxViTError(
            f"it is a MaxViT of timm, but not one of its official variants (maxvit_*_tf_*): {error} does not fit. "
            "timm's own variants (_rw_, _rmlp_, _pm_) are other networks and cannot be read"
        ) from error
    window = ((height + 1) // 2, (width + 1) // 2)
    return with_published_drop_path(
        MaxViTConfig(
            stem_channels=stem[0],
            in_channels=stem[1],
            channels=channels,
            depths=depths,
            head_dim=channels[0] // heads,
            expansion=expand[0] // channels[0],
            se_ratio=squeeze[0] / channels[0],
            window_size=window,
            grid_size=window,
            num_classes=shapes.get("head.fc.weight", (0,))[0],
            image_size=(window[0] * 32, window[1] * 32),
        )
    )

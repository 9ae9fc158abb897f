"""timm's `maxvit_*_tf_*`: the official network under other names, with bias tables of the window's own size."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from torch import Tensor

from maxvit import storage
from maxvit.checkpoints.name_table import FIRST_TABLE, NameTable, Shapes, config_from, rename, shape_of
from maxvit.checkpoints.published import published, timm_preprocessing
from maxvit.config import OFFICIAL, MaxViTConfig, Preprocessing, variant_name
from maxvit.errors import MaxViTError
from maxvit.layers.attention import resized_table
from maxvit.model import MaxViT

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


def is_timm(names: Mapping[str, object]) -> bool:
    """Whether these are names of timm's MaxViT family, of whatever kind."""
    return "stem.conv1.weight" in names and any(name.startswith("stages.0.blocks.0.") for name in names)


def from_timm(state: Mapping[str, Tensor]) -> tuple[MaxViTConfig, Preprocessing, dict[str, Tensor]]:
    """timm's tensors to ours.

    Raises:
        MaxViTError: If it is not one of the `_tf_` variants, which alone are the official network.
    """
    config = infer_config({name: tuple(t.shape) for name, t in state.items()})
    ours = rename(state, NAMES.pairs(config), "timm")
    return config, timm_preprocessing(config.image_size, config.num_classes), ours


def to_timm(state: Mapping[str, Tensor], config: MaxViTConfig) -> dict[str, Tensor]:
    """Our tensors to timm's. The bias tables are resized to the windows, as timm's model wants them.

    Raises:
        MaxViTError: If timm's network of that shape would compute something else.
    """
    _check_timm_computes_the_same(config)
    result = {}
    for ours, theirs in NAMES.pairs(config).items():
        is_table = ours.endswith("bias.table")
        result[theirs] = resized_table(state[ours], config.window_size) if is_table else state[ours]
    return result


def save_for_timm(model: MaxViT, path: Path) -> str:
    """Write a file that timm loads strictly and computes the same with.

    Returns:
        What makes timm's network for it, see `timm_call`.

    Raises:
        MaxViTError: If timm would compute something else, or the file cannot be written.
    """
    storage.save_plain(path, to_timm(model.state_dict(), model.config), {"format": "pt"})
    return timm_call(model.config)


def timm_call(config: MaxViTConfig) -> str:
    """The Python call that makes timm's network of a configuration; timm names the paper's variants only."""
    side, other = (32 * tokens for tokens in config.window_size)
    name = variant_name(config)
    if name is None or not published(name):
        return f"timm.models.maxxvit.MaxxVit with img_size=({side}, {other}), as timm has no name for these blocks"
    resolution = side if side == other and side in (224, 384, 512) else 224
    options = [f"num_classes={config.num_classes}"]
    options += [f"img_size=({side}, {other})"] if (side, other) != (resolution, resolution) else []
    options += [f"in_chans={config.in_channels}"] if config.in_channels != 3 else []
    return f"timm.create_model({name + f'_tf_{resolution}'!r}, {', '.join(options)})"


def _check_timm_computes_the_same(config: MaxViTConfig) -> None:
    if config.arithmetic != OFFICIAL:
        odd = [f.name for f in fields(OFFICIAL) if getattr(config.arithmetic, f.name) != getattr(OFFICIAL, f.name)]
        raise MaxViTError(f"timm's networks compute as the official one, and this one differs in {', '.join(odd)}")
    if config.window_size != config.grid_size:
        raise MaxViTError(
            f"timm's windows and grids are of one size, and here they are {config.window_size} and {config.grid_size}: "
            "set_image_size (or --image-size) makes them equal"
        )
    if config.pool != "avg":
        raise MaxViTError(f"timm's networks average over the last map, and this one has pool={config.pool!r}")


def infer_config(shapes: Shapes) -> MaxViTConfig:
    """The configuration, from names and shapes alone; the side of the bias tables says the resolution.

    Raises:
        MaxViTError: If it is of timm's family, but not the official network.
    """
    if foreign := NAMES.foreign(shapes):
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise MaxViTError(
            f"{', '.join(foreign[:3])}{more} are in none of timm's official variants (maxvit_*_tf_*), which alone can "
            "be read: timm's own (_rw_, _rmlp_, _pm_, coatnet) are other networks"
        )
    heads, height, width = shape_of(shapes, NAMES.theirs(FIRST_TABLE), 3)
    return config_from(shapes, NAMES, heads, (height, width))

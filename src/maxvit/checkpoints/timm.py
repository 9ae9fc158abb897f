"""timm's MaxViTs: the official network under other names (`_tf_`), and timm's own (`_rw_`, `_rmlp_`, `_pm_`).

The former have bias tables of the window's own size. In the latter, tables are rows of offsets by query minus key, and
the projection to queries, keys and values is by heads.
"""

from collections.abc import Mapping
from dataclasses import fields, replace
from math import ceil, isqrt
from pathlib import Path

from torch import Tensor

from maxvit import storage
from maxvit.checkpoints.name_table import (
    NameTable,
    Shapes,
    config_from,
    dialect_from,
    first_bias,
    rename,
    rows_of_table,
    shape_of,
    table_of_rows,
)
from maxvit.checkpoints.published import of_timm, timm_preprocessing
from maxvit.config import OFFICIAL, TIMM_RW, Dialect, MaxViTConfig, Preprocessing, Sides, Size
from maxvit.errors import MaxViTError
from maxvit.layers.position_bias import resized_table
from maxvit.model import MaxViT

_SIDE = 224  # pixels, of networks whose files do not say it, and that are none of timm's
_MBCONV = {
    "pre_norm": "pre_norm",
    "expand": "conv1_1x1",
    "expand_norm": "norm1",
    "depthwise": "conv2_kxk",
    "depthwise_norm": "norm2",
    "se.reduce": "se.fc1",
    "se.expand": "se.fc2",
    "project": "conv3_1x1",
    "shortcut.conv": "shortcut.expand",
}
_LAYER = {
    "norm1": "norm1",
    "scale1.scale": "ls1.gamma",
    "norm2": "norm2",
    "ffn.expand": "mlp.fc1",
    "ffn.project": "mlp.fc2",
    "scale2.scale": "ls2.gamma",
}
_ATTENTION = {
    "qkv": "qkv",
    "bias.table": "rel_pos.relative_position_bias_table",
    "bias.expand": "rel_pos.mlp.fc1",
    "bias.project": "rel_pos.mlp.fc2",
    "proj": "proj",
}


def _within(ours: str, theirs: str, names: Mapping[str, str]) -> dict[str, str]:
    """The names of a part's layers, with that of the part before them."""
    return {f"{ours}.{a}": f"{theirs}.{b}" for a, b in names.items()}


_THEIR_CHOICE = ("attention", "position_bias", "layer_scale", "head")  # that timm's own networks differ in
NAMES = NameTable(
    block="stages.{s}.blocks.{b}",
    inside={
        **_within("mbconv", "conv", _MBCONV),
        **_within("block_attention", "attn_block", _LAYER),
        **_within("block_attention.attention", "attn_block.attn", _ATTENTION),
        **_within("grid_attention", "attn_grid", _LAYER),
        **_within("grid_attention.attention", "attn_grid.attn", _ATTENTION),
        # of parallel attention
        **_within("mbconv1", "conv.0", _MBCONV),
        **_within("mbconv2", "conv.1", _MBCONV),
        **_within("attention", "attn", _LAYER),
        **_within("attention.block", "attn.attn_block", _ATTENTION),
        **_within("attention.grid", "attn.attn_grid", _ATTENTION),
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


def names_of(dialect: Dialect) -> NameTable:
    """The names of timm's networks in a dialect: before a plain head the norm is a layer of its own."""
    if dialect.head == "dense":
        return NAMES
    return NAMES._replace(outside={**NAMES.outside, "head.norm": "norm"})


def from_timm(
    state: Mapping[str, Tensor], image_size: int | Sides | None = None
) -> tuple[MaxViTConfig, Preprocessing, dict[str, Tensor]]:
    """timm's tensors to ours.

    Args:
        state: State of one of its MaxViTs.
        image_size: What a network was made for whose tensors do not say it, see `assumed`; others say it themselves.

    Raises:
        MaxViTError: If it is another network of the family, or a tensor is missing or of another shape.
    """
    config = infer_config({name: tuple(t.shape) for name, t in state.items()}, image_size)
    ours = rename(state, names_of(config.dialect).pairs(config), "timm")
    if config.dialect != OFFICIAL:
        ours = {name: _to_ours(name, tensor, config) for name, tensor in ours.items()}
    same = (row.preprocessing for row in of_timm(config) if row.config.image_size == config.image_size)
    found = next(same, None) if config.dialect != OFFICIAL else None
    return config, found or timm_preprocessing(config.frame_size, config.num_classes, config.dialect), ours


def assumed(config: MaxViTConfig) -> str | None:
    """What tensors do not say of a network, in words, or None: an MLP gives biases for windows of any size."""
    if config.dialect.position_bias == "table":
        return None
    side = config.image_size[0]
    return f"made for {side} pixels, which files of timm's networks do not say; image_size sets another"


def to_timm(state: Mapping[str, Tensor], config: MaxViTConfig) -> dict[str, Tensor]:
    """Our tensors to timm's. The bias tables are resized to the windows, as timm's model wants them.

    Raises:
        MaxViTError: If timm's network of that shape would compute something else.
    """
    _check_timm_computes_the_same(config)
    result = {}
    for ours, theirs in names_of(config.dialect).pairs(config).items():
        tensor = resized_table(state[ours], config.window_size) if ours.endswith("bias.table") else state[ours]
        result[theirs] = tensor if config.dialect == OFFICIAL else _to_theirs(ours, tensor, config)
    return result


def _to_ours(name: str, tensor: Tensor, config: MaxViTConfig) -> Tensor:
    """A tensor of timm's own networks, by our name."""
    if name.endswith("bias.table"):
        return table_of_rows(tensor, config.window_size)
    if ".qkv." not in name:
        return tensor
    if not tensor.ndim or len(tensor) % (3 * config.head_dim):
        raise MaxViTError(
            f"a projection to queries, keys and values has shape {tuple(tensor.shape)}, whose rows are "
            f"not a multiple of {3 * config.head_dim}: copy the file again"
        )
    by_head = tensor.unflatten(0, (-1, 3, config.head_dim))  # (N, 3, D, ...)
    return by_head.transpose(0, 1).flatten(0, 2).contiguous()


def _to_theirs(name: str, tensor: Tensor, config: MaxViTConfig) -> Tensor:
    """Undo `_to_ours`."""
    if name.endswith("bias.table"):
        return rows_of_table(tensor)
    if ".qkv." not in name:
        return tensor
    return tensor.unflatten(0, (3, -1, config.head_dim)).transpose(0, 1).flatten(0, 2).contiguous()


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
    """The Python call that makes timm's network of a configuration; timm names published variants only."""
    side, other = (32 * tokens for tokens in config.window_size)
    rows = of_timm(config)
    if not rows:
        return f"timm.models.maxxvit.MaxxVit with img_size=({side}, {other}), as timm has no name for these blocks"
    row = next((row for row in rows if (row.resolution,) * 2 == (side, other)), rows[0])
    options = [f"num_classes={config.num_classes}"]
    options += [f"img_size=({side}, {other})"] if (side, other) != (row.resolution,) * 2 else []
    options += [f"in_chans={config.in_channels}"] if config.in_channels != 3 else []
    return f"timm.create_model({row.their_name.partition('.')[0]!r}, {', '.join(options)})"


def _check_timm_computes_the_same(config: MaxViTConfig) -> None:
    nearest = OFFICIAL if config.dialect.conv_activation == "gelu" else TIMM_RW
    same = replace(nearest, **{name: getattr(config.dialect, name) for name in _THEIR_CHOICE if nearest == TIMM_RW})
    if odd := [f.name for f in fields(same) if getattr(config.dialect, f.name) != getattr(same, f.name)]:
        raise MaxViTError(
            f"timm's networks compute as the official one or as its own, and this one differs in {', '.join(odd)}"
        )
    if config.dims != 2 or config.block_orders != replace(config, order=None).block_orders:
        raise MaxViTError(
            f"timm's networks are for images, with blocks of MBConv, block and grid attention; this one takes maps of "
            f"{config.dims} sides, and has blocks {', '.join(config.block_orders)}"
        )
    if config.window_size != config.grid_size:
        raise MaxViTError(
            f"timm's windows and grids are of one size, and here they are {config.window_size} and {config.grid_size}: "
            "set_image_size (or --image-size) makes them equal"
        )
    if config.inner_fields:
        raise MaxViTError("timm's networks classify the last map alone, and this one inner maps too (inner_fields)")
    if config.pool != "avg":
        raise MaxViTError(f"timm's networks average over the last map, and this one has pool={config.pool!r}")


def infer_config(shapes: Shapes, image_size: int | Sides | None = None) -> MaxViTConfig:
    """The configuration, from names and shapes alone; bias tables say the resolution, by their sides or offsets.

    Args:
        shapes: Shapes of all tensors, by their names.
        image_size: Where there are no tables: the resolution; None: that of timm's network with these blocks.

    Raises:
        MaxViTError: If it is of timm's family, but no MaxViT.
    """
    dialect = dialect_from(shapes, NAMES)
    names = names_of(dialect)
    if foreign := names.foreign(shapes, dialect):
        more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
        raise MaxViTError(
            f"{', '.join(foreign[:3])}{more} are in none of timm's MaxViTs (maxvit_*), which alone can be read: "
            "maxxvit, coatnet and coatnext are other networks"
        )
    bias = names.theirs(first_bias(dialect))
    if dialect == OFFICIAL:
        heads, height, width = shape_of(shapes, bias, 3)
        return config_from(shapes, names, heads, (height, width))
    if dialect.position_bias == "table":
        offsets, heads = shape_of(shapes, bias, 2)
        return config_from(shapes, names, heads, _sides(offsets, image_size), dialect)
    heads = shape_of(shapes, bias, 2)[0]
    config = config_from(shapes, names, heads, (2 * ceil(_SIDE / 32) - 1,) * 2, dialect)
    sides = [row.resolution for row in of_timm(config)]
    return replace(config.resized(image_size or (sides or [_SIDE])[0]), bias_table_size=None)


def _sides(offsets: int, image_size: int | Sides | None) -> Size:
    """The sides of a table of so many offsets: a square one's, or those for images of a size."""
    side = isqrt(offsets)
    if side * side == offsets:
        return side, side
    sizes = (image_size, image_size) if isinstance(image_size, int) else image_size
    height, width = (2 * ceil(s / 32) - 1 for s in sizes) if sizes else (0, 0)
    if height * width != offsets:
        raise MaxViTError(f"a bias table has {offsets} offsets, those of no square window: give the file's image_size")
    return height, width

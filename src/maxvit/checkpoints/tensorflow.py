"""Official TensorFlow checkpoints: a table of their names and layouts, and what their shapes say."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.checkpoints.name_table import shape_of
from maxvit.checkpoints.tensorbundle import TensorBundle
from maxvit.config import IMAGENET_21K, MaxViTConfig, with_published_drop_path
from maxvit.errors import MaxViTError

Array = npt.NDArray[np.float32]
EMA = "/ExponentialMovingAverage"


# How the official arrays of one entry become our tensor.
TO_OURS: Mapping[str, Callable[[list[Array]], Array]] = {
    "vector": lambda a: a[0],
    "conv": lambda a: a[0].transpose(3, 2, 0, 1),  # HWIO, OIHW
    "depthwise": lambda a: a[0].transpose(2, 3, 0, 1),  # HWC1, C1HW
    "dense": lambda a: a[0].T,
    "qkv_weight": lambda a: np.concatenate([w.reshape(len(w), -1).T for w in a]),  # three of (C, N, D), one (3C, C)
    "qkv_bias": lambda a: np.concatenate([b.reshape(-1) for b in a]),  # three of (N, D), one (3C)
    "out_weight": lambda a: a[0].reshape(-1, a[0].shape[2]).T,  # (N, D, C), (C, C)
}


class Entry(NamedTuple):
    """One tensor of ours, the official variables that it holds, and how: a key of `TO_OURS`."""

    ours: str
    theirs: tuple[str, ...]
    layout: str


def name_table(config: MaxViTConfig) -> Iterator[Entry]:
    """Every tensor of the network that `config` describes."""
    yield from _conv("stem.conv1", "stem/conv_0")
    yield from _batch_norm("stem.norm", "stem/norm_0")
    yield from _conv("stem.conv2", "stem/conv_1")
    width = config.stem_channels
    for s, (channels, depth) in enumerate(zip(config.channels, config.depths, strict=True)):
        for b in range(depth):
            yield from _block(f"stages.{s}.{b}", f"block_{s:02d}_{b:02d}", projects=width != channels)
            width = channels
    yield from _layer_norm("head.norm", "final_layer_norm")
    yield from _dense("head.dense", "cls_head/inner_dense")
    if config.num_classes:
        yield from _dense("head.classifier", "cls_head/logit_dense")


def _block(ours: str, theirs: str, projects: bool) -> Iterator[Entry]:
    yield from _batch_norm(f"{ours}.mbconv.pre_norm", f"{theirs}/mbconv/pre_norm")
    yield from _conv(f"{ours}.mbconv.expand", f"{theirs}/mbconv/expand_conv", bias=False)
    yield from _batch_norm(f"{ours}.mbconv.expand_norm", f"{theirs}/mbconv/expand_norm")
    depthwise = (f"maxvit/{theirs}/mbconv/depthwise_conv/depthwise_kernel",)
    yield Entry(f"{ours}.mbconv.depthwise.weight", depthwise, "depthwise")
    yield from _batch_norm(f"{ours}.mbconv.depthwise_norm", f"{theirs}/mbconv/depthwise_norm")
    yield from _conv(f"{ours}.mbconv.se.reduce", f"{theirs}/mbconv/se/reduce_conv2d")
    yield from _conv(f"{ours}.mbconv.se.expand", f"{theirs}/mbconv/se/expand_conv2d")
    yield from _conv(f"{ours}.mbconv.project", f"{theirs}/mbconv/shrink_conv")
    if projects:
        yield from _conv(f"{ours}.mbconv.shortcut.conv", f"{theirs}/mbconv/shortcut_conv")
    for axis, suffix in (("block_attention", ""), ("grid_attention", "_1")):
        yield from _layer_norm(f"{ours}.{axis}.norm1", f"{theirs}/attn_layer_norm{suffix}")
        yield from _attention(f"{ours}.{axis}.attention", f"maxvit/{theirs}/attention{suffix}")
        yield from _layer_norm(f"{ours}.{axis}.norm2", f"{theirs}/ffn_layer_norm{suffix}")
        yield from _dense(f"{ours}.{axis}.ffn.expand", f"{theirs}/ffn{suffix}/expand_dense")
        yield from _dense(f"{ours}.{axis}.ffn.project", f"{theirs}/ffn{suffix}/shrink_dense")


def _attention(ours: str, theirs: str) -> Iterator[Entry]:
    yield Entry(f"{ours}.qkv.weight", tuple(f"{theirs}/{part}/weight" for part in "qkv"), "qkv_weight")
    yield Entry(f"{ours}.qkv.bias", tuple(f"{theirs}/{part}/bias" for part in "qkv"), "qkv_bias")
    yield Entry(f"{ours}.bias.table", (f"{theirs}/relative_bias",), "vector")
    yield Entry(f"{ours}.proj.weight", (f"{theirs}/o/weight",), "out_weight")
    yield Entry(f"{ours}.proj.bias", (f"{theirs}/o/bias",), "vector")


def _conv(ours: str, theirs: str, bias: bool = True) -> Iterator[Entry]:
    yield Entry(f"{ours}.weight", (f"maxvit/{theirs}/kernel",), "conv")
    if bias:
        yield Entry(f"{ours}.bias", (f"maxvit/{theirs}/bias",), "vector")


def _dense(ours: str, theirs: str) -> Iterator[Entry]:
    yield Entry(f"{ours}.weight", (f"maxvit/{theirs}/weight",), "dense")
    yield Entry(f"{ours}.bias", (f"maxvit/{theirs}/bias",), "vector")


def _layer_norm(ours: str, theirs: str) -> Iterator[Entry]:
    yield Entry(f"{ours}.weight", (f"maxvit/{theirs}/gamma",), "vector")
    yield Entry(f"{ours}.bias", (f"maxvit/{theirs}/beta",), "vector")


def _batch_norm(ours: str, theirs: str) -> Iterator[Entry]:
    yield from _layer_norm(ours, theirs)
    yield Entry(f"{ours}.running_mean", (f"maxvit/{theirs}/moving_mean",), "vector")
    yield Entry(f"{ours}.running_var", (f"maxvit/{theirs}/moving_variance",), "vector")


def from_official(arrays: Mapping[str, Array], config: MaxViTConfig) -> dict[str, Tensor]:
    """Official variables (by name, without suffix) to our state dict.

    Raises:
        MaxViTError: If a variable is missing, or has another number of sides.
    """
    state = {}
    for entry in name_table(config):
        missing = [name for name in entry.theirs if name not in arrays]
        if missing:
            raise MaxViTError(f"the checkpoint lacks {missing[0]}: it is not a complete MaxViT; copy all of it again")
        parts = [arrays[name] for name in entry.theirs]
        try:
            ours = TO_OURS[entry.layout](parts)
        except (ValueError, IndexError) as error:
            raise MaxViTError(f"{entry.theirs[0]} has shape {parts[0].shape}, which is not a MaxViT's") from error
        state[entry.ours] = torch.from_numpy(np.array(ours, dtype=np.float32, order="C"))
        if entry.ours.endswith("running_var"):  # PyTorch counts batches; the count is used by nothing here
            state[entry.ours.replace("running_var", "num_batches_tracked")] = torch.tensor(0)
    return state


def infer_config(shapes: Mapping[str, tuple[int, ...]]) -> MaxViTConfig:
    """The configuration, from the names and shapes of the variables alone.

    The files do not say at which resolution they were trained: windows are those of the bias tables, 7 at 224.

    Raises:
        MaxViTError: If these are not the variables of a MaxViT.
    """
    depths, channels = [0, 0, 0, 0], [0, 0, 0, 0]
    for name in shapes:
        if match := re.fullmatch(r"maxvit/block_0([0-3])_(\d\d)/mbconv/shrink_conv/kernel", name):
            stage = int(match[1])
            depths[stage] = max(depths[stage], int(match[2]) + 1)
            channels[stage] = shape_of(shapes, name, 4)[3]
    try:
        stem = shape_of(shapes, "maxvit/stem/conv_0/kernel", 4)
        table = shape_of(shapes, "maxvit/block_00_00/attention/relative_bias", 3)
        q = shape_of(shapes, "maxvit/block_00_00/attention/q/weight", 3)
        expand = shape_of(shapes, "maxvit/block_00_00/mbconv/expand_conv/kernel", 4)
        squeeze = shape_of(shapes, "maxvit/block_00_00/mbconv/se/reduce_conv2d/kernel", 4)
    except MaxViTError as error:
        raise MaxViTError(f"{error}: it is not a MaxViT") from error
    if 0 in depths:
        raise MaxViTError(f"the checkpoint has {depths} blocks in its 4 stages, and a MaxViT has some in each")
    window = ((table[1] + 1) // 2, (table[2] + 1) // 2)
    classifier = "maxvit/cls_head/logit_dense/weight"
    classes = shape_of(shapes, classifier, 2)[1] if classifier in shapes else 0
    config = MaxViTConfig(
        stem_channels=stem[3],
        in_channels=stem[2],
        channels=tuple(channels),
        depths=tuple(depths),
        head_dim=q[2],
        expansion=expand[3] // channels[0],
        se_ratio=squeeze[3] / channels[0],
        window_size=window,
        grid_size=window,
        bias_table_size=(table[1], table[2]),
        num_classes=classes,
        multi_label=classes == IMAGENET_21K,
        image_size=(window[0] * 32, window[1] * 32),
    )
    return with_published_drop_path(config)


def is_checkpoint(path: Path) -> bool:
    """Whether `path` is a TensorFlow checkpoint: a prefix, one of its files, or a folder that holds one."""
    return _prefix(path) is not None


def _prefix(path: Path) -> Path | None:
    if path.is_dir():
        indexes = sorted(path.glob("*.index"))
        if len(indexes) > 1:
            names = ", ".join(p.name for p in indexes)
            raise MaxViTError(f"{path} holds several checkpoints ({names}); name the one to read")
        return indexes[0].with_suffix("") if indexes else None
    name = re.sub(r"\.(index|data-\d{5}-of-\d{5}|meta)$", "", path.name)
    prefix = path.with_name(name)
    return prefix if prefix.with_name(name + ".index").is_file() else None


def read(path: Path, ema: bool = True) -> tuple[MaxViTConfig, dict[str, Tensor]]:
    """Read an official checkpoint; TensorFlow is not needed.

    Args:
        path: Its folder, its prefix or one of its files.
        ema: The averaged weights, which the official evaluation restores; False: the raw ones.

    Raises:
        MaxViTError: If it is missing, damaged, holds no averaged weights or is not a MaxViT.
    """
    prefix = _prefix(path)
    if prefix is None:
        raise MaxViTError(f"{path} is not a TensorFlow checkpoint: no .index file is there")
    bundle = TensorBundle(prefix)
    suffix = EMA if ema else ""
    names = {n.removesuffix(EMA): n for n in bundle.entries if n.startswith("maxvit/") and n.endswith(EMA) == ema}
    if ema and not names:
        raise MaxViTError(f"{prefix} holds no averaged weights; ema=False reads the raw ones")
    shapes = {name: bundle.entries[full].shape for name, full in names.items()}
    config = infer_config(shapes)
    wanted = {name for entry in name_table(config) for name in entry.theirs}
    arrays = {n: bundle.read(n + suffix).astype(np.float32) for n in sorted(wanted & names.keys())}
    return config, from_official(arrays, config)

"""Make a network by name, or load one from a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxvit.checkpoints.class_names import imagenet_names
from maxvit.checkpoints.detect import read_checkpoint
from maxvit.checkpoints.published import find, find_by_their_name, published, shipped
from maxvit.checkpoints.sources import Source, find_by_name, locate, published_source
from maxvit.config import VARIANTS, MaxViTConfig, Pool, Sides, variant_name
from maxvit.description import check_dtype
from maxvit.errors import MaxViTError
from maxvit.hub.download import look_for
from maxvit.model import MaxViT
from maxvit.timm_names import timm_words


def list_models(filter: str | Sequence[str] = "*", pretrained: bool = False) -> list[str]:
    """Names of the variants, smallest first.

    Args:
        filter: Only those that fit this pattern of a shell, such as "*tiny*", or one of several.
        pretrained: Only those that have published weights.

    Raises:
        MaxViTError: If the filter is not text.
    """
    patterns = [filter] if isinstance(filter, str) else filter
    if not isinstance(patterns, Sequence) or not all(isinstance(p, str) for p in patterns):
        raise MaxViTError(f"filter is {filter!r}; it takes a pattern such as '*tiny*', or several of them")
    fitting = [name for name in VARIANTS if any(fnmatchcase(name, pattern or "*") for pattern in patterns)]
    return [name for name in fitting if published(name) or not pretrained]


@timm_words
def create_model(
    name: str,
    num_classes: int | None = None,
    in_channels: int = 3,
    image_size: int | Sides | None = None,
    pretrained: bool | str | Path | None = None,
    drop_path_rate: float | None = None,
    global_pool: Pool | None = None,
    dtype: torch.dtype = torch.float32,
    dims: int = 2,
    window_size: int | Sides | None = None,
    depths: Sequence[int] | None = None,
    order: str | Sequence[str] | None = None,
) -> MaxViT:
    """Make a network: freshly initialised in training mode, or with published weights in evaluation mode.

    Arguments of `timm.create_model` are understood as well, by name: see `maxvit.timm_names`.

    Args:
        name: One of `list_models()`. Or a name of timm's ("maxvit_tiny_tf_384.in1k") or torchvision's ("maxvit_t"):
            the variant with their image size, classes and dialect, and with `pretrained=True` those weights.
        num_classes: 0 for no classifier; None: the variant's or the weights' own. Another number than the weights'
            puts a fresh classifier on top of them, without class names.
        in_channels: Channels of the images. Weights for another number are adapted, see `MaxViT.set_in_channels`.
        image_size: Side in pixels, or (height, width). Windows and grids become ceil(side / 32), the bias tables
            keep their size and are resized on use, as the official fine-tuning does. None: the variant's or the
            weights' own.
        pretrained: Weights to start from. True: the default ("in1k-224" where that exists); a tag such as
            "in1k-384", see `maxvit list --pretrained`; or what `load_model` takes: a path, published weights by name,
            or "owner/name", a repository of the Hugging Face Hub that holds a model.safetensors.
        drop_path_rate: Stochastic depth of the deepest block; None: the paper's for this variant, or what the weights
            say.
        global_pool: As `MaxViT.set_pool` takes it; None: "avg", or what the weights say.
        dtype: Type of the network, whatever the weights' own.
        dims: Sides of what it takes: 2 of images, 1 of sequences (B, C, L), 3 of volumes and video (B, C, T, H, W).
            Weights for images make a network of 3, see `MaxViT.inflated`.
        window_size: Tokens of windows and grids, a number or one for each side; None: the variant's, or as
            `image_size` says.
        depths: Blocks of each of the 4 stages; None: the variant's.
        order: Parts of a block, for all stages or for each of the 4, see `maxvit.MaxViTBlock`; None: MBConv, block
            attention, grid attention.

    Raises:
        MaxViTError: If the name is unknown, a value out of range, or the weights cannot be had, are damaged or
            belong to another variant.
    """
    check_dtype(dtype)
    theirs = None if name in VARIANTS else find_by_their_name(name)
    if theirs and pretrained is True:
        pretrained = theirs.tag
    name, config = (theirs.variant, theirs.config) if theirs else (name, VARIANTS[name])
    given: dict[str, Any] = {"num_classes": num_classes, "drop_path_rate": drop_path_rate, "pool": global_pool}
    given |= {"depths": depths, "order": order}
    given = {name: value for name, value in given.items() if value is not None}
    config = dataclasses.replace(config, in_channels=in_channels, **given).with_dims(dims, window_size)
    if image_size is not None:
        sized = config.resized(image_size)
        config = sized if window_size is None else dataclasses.replace(config, image_size=sized.image_size)
    if pretrained is None or pretrained is False:
        return MaxViT(config).to(dtype)
    _check_weights_allow(dims, {"depths": depths, "order": order, "window_size": None if dims == 3 else window_size})
    source = published_source(find(name)) if pretrained is True else locate(pretrained, name)
    model = _load_variant(name, source, drop_path_rate, dtype)
    _name_classes(model, source)
    model.provenance = {**model.provenance, "pretrained": source.address or source.path.name}
    if in_channels != model.config.in_channels:
        model.set_in_channels(in_channels)
    if dims == 3 and model.config.dims == 2:
        model = model.inflated(image_size, window_size)
    elif model.config.dims != dims:
        raise MaxViTError(f"the weights are for maps of {model.config.dims} sides: ask for dims={model.config.dims}")
    elif image_size is not None:
        model.set_image_size(image_size)
    if num_classes not in (None, model.config.num_classes):
        model.reset_classifier(config.num_classes)
    if global_pool is not None:
        model.set_pool(global_pool)
    return model


def _check_weights_allow(dims: int, given: Mapping[str, object]) -> None:
    """Refuse, by `MaxViTError`, what only a fresh network can be given."""
    if dims not in (2, 3):
        raise MaxViTError(f"dims is {dims}, and weights are for 2 or, inflated, for 3: leave pretrained out")
    if named := [name for name, value in given.items() if value is not None]:
        raise MaxViTError(f"{', '.join(named)}: weights have their own; leave them or pretrained out")


def load_model(
    path: str | Path,
    image_size: int | Sides | None = None,
    num_classes: int | None = None,
    ema: bool = True,
    dtype: torch.dtype = torch.float32,
) -> MaxViT:
    """Load a network, in evaluation mode, from any published format: the file's contents say which.

    Args:
        path: Ours, timm's or torchvision's file, also as their training programs and Lightning leave it; the folder of
            a run, or one that `save_pretrained` wrote; an official TensorFlow checkpoint (its folder, its prefix or
            its `.index` file); or published weights by name, see `maxvit.checkpoints.sources.locate`.
        image_size: Scale windows to this size; None: as the file says. An official one says nothing: this is then what
            it was made for, and its preprocessing follows; None assumes 224, see `model.provenance["assumed"]`.
        num_classes: Replace the classifier by a fresh one with so many classes; None: keep it.
        ema: Where a checkpoint holds averaged weights and raw ones, read the averaged, which are the model; False: the
            raw ones.
        dtype: Type of the network, whatever the file's: float32, float16, bfloat16 or float64.

    Raises:
        MaxViTError: If the file is missing, damaged or of another architecture, or `dtype` is no such type.
    """
    source = locate(path)
    state, metadata = read_checkpoint(source.path, ema, image_size or source.side)
    model = MaxViT.restore(state, metadata, str(path), dtype)
    _name_classes(model, source)
    if source.address:
        model.provenance = {**model.provenance, "source": source.address}
    if image_size is not None:
        model.set_image_size(image_size)
    if num_classes is not None:
        model.reset_classifier(num_classes)
    return model


def look_for_weights(name: str) -> None:
    """See whether published weights can be had, without downloading them.

    Args:
        name: Such as "maxvit_tiny" or "maxvit_tiny:in1k-384".

    Raises:
        MaxViTError: If they cannot, or none has this name.
    """
    row = find_by_name(name)
    if row is None:
        raise MaxViTError(f"{name} is not the name of published weights: see maxvit list --pretrained")
    if row.is_on_hub:
        look_for(row.place, row.filename)


def shipped_weights(name: str) -> str | None:
    """The tag of a variant's weights that come with the package; None: there are none."""
    return shipped(name)


def _name_classes(model: MaxViT, source: Source) -> None:
    """Give published weights the names of ImageNet's classes, which their files do not hold."""
    if source.published and not source.published.is_shipped and model.class_names is None:
        model.class_names = imagenet_names(model.config.num_classes)


def _load_variant(name: str, source: Source, drop_path_rate: float | None, dtype: torch.dtype) -> MaxViT:
    """Weights of the variant asked for."""
    path = source.path
    state, metadata = read_checkpoint(path, image_size=source.side)
    if drop_path_rate is not None and isinstance(metadata.get("config"), dict):
        metadata = {**metadata, "config": {**metadata["config"], "drop_path_rate": drop_path_rate}}
    if "task" in metadata:
        state, metadata = _without_head(state, metadata)
    model = MaxViT.restore(state, metadata, str(path), dtype)
    found = variant_name(model.config)
    if found != name:
        todo = f"ask for create_model({found!r}, ...)" if found else "read them with load_model"
        raise MaxViTError(
            f"{path} holds weights of {found or 'no published variant'} (stem {model.config.stem_channels}, channels "
            f"{model.config.channels}, blocks {model.config.depths}, head_dim {model.config.head_dim}), not of {name}: "
            f"{todo}"
        )
    return model


def _without_head(state: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The backbone of a network for another task, with a fresh head that has no classifier."""
    config = dataclasses.replace(MaxViTConfig.from_dict(metadata["config"]), num_classes=0)
    fresh = {name: tensor for name, tensor in MaxViT(config).state_dict().items() if name.startswith("head.")}
    kept = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
    rest = {key: value for key, value in metadata.items() if key not in ("task", "class_names")}
    return {**fresh, **kept}, {**rest, "config": config.to_dict(), "class_names": None}

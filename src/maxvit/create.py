"""Make a network by name, or load one from a file."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxvit import storage
from maxvit.checkpoints import tensorflow
from maxvit.config import VARIANTS, MaxViTConfig, Preprocessing, Size, check_known
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT


def list_models() -> list[str]:
    """Names of the variants, smallest first."""
    return list(VARIANTS)


def create_model(
    name: str,
    num_classes: int | None = None,
    in_channels: int = 3,
    image_size: int | Size | None = None,
    drop_path_rate: float | None = None,
) -> MaxViT:
    """Make a freshly initialised network.

    Args:
        name: One of `list_models()`.
        num_classes: 0 for no classifier; None: the variant's own (1000; 10 for `maxvit_micro`).
        in_channels: Channels of the images.
        image_size: Side in pixels, or (height, width). Windows and grids become ceil(side / 32), the bias tables
            keep their size and are resized on use, as the official fine-tuning does. None: the variant's.
        drop_path_rate: Stochastic depth of the deepest block; None: the paper's for this variant.

    Raises:
        MaxViTError: If the name is unknown or a value out of range.
    """
    check_known("model", [name], VARIANTS)
    config = dataclasses.replace(VARIANTS[name], in_channels=in_channels)
    if num_classes is not None:
        config = dataclasses.replace(config, num_classes=num_classes)
    if drop_path_rate is not None:
        config = dataclasses.replace(config, drop_path_rate=drop_path_rate)
    if image_size is not None:
        config = config.resized(image_size)
    return MaxViT(config)


def load_model(
    path: str | Path, image_size: int | Size | None = None, num_classes: int | None = None, ema: bool = True
) -> MaxViT:
    """Load a network, in evaluation mode, from our own checkpoint or an official TensorFlow one.

    Args:
        path: A `.safetensors` file; or an official checkpoint (its folder, its prefix or its `.index` file).
        image_size: Scale windows to this size; None: as the file says (an official file says nothing: 224).
        num_classes: Replace the classifier by a fresh one with so many classes; None: keep it.
        ema: Read the averaged weights of an official checkpoint, which are the model; False: the raw ones.

    Raises:
        MaxViTError: If the file is missing, damaged or of another architecture.
    """
    path = Path(path)
    if tensorflow.is_checkpoint(path):
        config, state = tensorflow.read(path, ema=ema)
        model = build(config, state, source=path)
        model.provenance = {"converted_from": path.name, "weights": "averaged" if ema else "raw"}
    else:
        if not ema:
            raise MaxViTError(f"{path} holds one set of weights; ema=False is for official TensorFlow checkpoints")
        model = _load_native(path)
    if image_size is not None:
        model.set_image_size(image_size)
    if num_classes is not None:
        model.reset_classifier(num_classes)
    return model.eval()


def build(
    config: MaxViTConfig,
    state: Mapping[str, Tensor],
    source: Path,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
) -> MaxViT:
    """Make a network and give it weights, naming the first entries that do not fit.

    Raises:
        MaxViTError: If an entry is missing, left over or of another shape.
    """
    with torch.device("meta"):
        model = MaxViT(config, preprocessing, class_names)
    wanted = model.state_dict()
    problems = [f"{n} is missing" for n in wanted if n not in state]
    problems += [f"{n} is not part of the network" for n in state if n not in wanted]
    for n, tensor in state.items():
        if n in wanted and tensor.shape != wanted[n].shape:
            problems.append(f"{n} has shape {tuple(tensor.shape)}, wanted is {tuple(wanted[n].shape)}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MaxViTError(f"{source} does not hold the network that it describes: {'; '.join(problems[:3])}{more}")
    model.load_state_dict(dict(state), assign=True)
    return model.requires_grad_()


def _load_native(path: Path) -> MaxViT:
    state, metadata = storage.load(path)
    if metadata.get("format") != "maxvit" or "config" not in metadata:
        found = ", ".join(list(state)[:3]) or "no tensors"
        raise MaxViTError(
            f"{path} is no checkpoint of this package (it holds {found} and no configuration); "
            "readable are files that maxvit wrote and official TensorFlow checkpoints"
        )
    try:
        config = MaxViTConfig.from_dict(metadata["config"])
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        names = metadata.get("class_names")
        if names is not None and len(names) != config.num_classes:
            raise MaxViTError(f"it has {len(names)} class names for {config.num_classes} classes")
    except (MaxViTError, KeyError, TypeError, AttributeError) as error:
        raise MaxViTError(f"the description in {path} cannot be used: {error}") from error
    model = build(config, state, path, preprocessing, names)
    provenance: Any = metadata.get("provenance")
    model.provenance = provenance if isinstance(provenance, dict) else {}
    return model

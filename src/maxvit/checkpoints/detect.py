"""Any checkpoint in the world: find out what it is, and translate it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from maxvit.checkpoints import tensorflow, timm, torchvision
from maxvit.checkpoints.files import read_tensors
from maxvit.config import MaxViTConfig, Preprocessing, official_preprocessing
from maxvit.errors import MaxViTError

READABLE = "readable are files that maxvit wrote, official TensorFlow checkpoints, and weights of timm and torchvision"


class Checkpoint(NamedTuple):
    """What a file says of a network, in our terms.

    Attributes:
        config: Shape of the network.
        state: Our state dict.
        preprocessing: What the weights expect of an image.
        class_names: One per class, or None.
        provenance: Where the weights come from.
    """

    config: MaxViTConfig
    state: dict[str, Tensor]
    preprocessing: Preprocessing
    class_names: list[str] | None
    provenance: dict[str, Any]


def read_checkpoint(path: Path, ema: bool = True) -> Checkpoint:
    """Read weights of any format.

    Args:
        path: A file, or the folder or prefix of an official checkpoint.
        ema: The averaged weights of an official checkpoint; False: the raw ones.

    Raises:
        MaxViTError: If it is missing, damaged, of no format that is known, or not the network that it says.
    """
    if tensorflow.is_checkpoint(path):
        config, state = tensorflow.read(path, ema=ema)
        provenance = {
            "converted_from": f"TensorFlow {path.name}",
            "weights": "averaged" if ema else "raw",
            "assumed": f"made for {config.image_size[0]} pixels: official files do not say; image_size sets another",
        }
        return Checkpoint(config, state, official_preprocessing(config.image_size), None, provenance)
    if not ema:
        raise MaxViTError(f"{path} holds one set of weights; ema=False is for official TensorFlow checkpoints")
    tensors, metadata = read_tensors(path)
    if metadata.get("format") == "maxvit":
        return _native(path, tensors, metadata)
    translate = _foreign(tensors)
    if translate is None:
        found = ", ".join(list(tensors)[:3]) or "no tensors"
        raise MaxViTError(f"{path} is no MaxViT that is known (it holds {found}); {READABLE}")
    name, function = translate
    try:
        config, preprocessing, state = function(tensors)
    except MaxViTError as error:
        raise MaxViTError(f"{path}: {error}") from error
    return Checkpoint(config, state, preprocessing, None, {"converted_from": f"{name} {path.name}"})


def _foreign(tensors: Mapping[str, Tensor]) -> tuple[str, Any] | None:
    if timm.is_timm(tensors):
        return "timm", timm.from_timm
    if torchvision.is_torchvision(tensors):
        return "torchvision", torchvision.from_torchvision
    return None


def _native(path: Path, tensors: dict[str, Tensor], metadata: Mapping[str, Any]) -> Checkpoint:
    try:
        config = MaxViTConfig.from_dict(metadata["config"])
        preprocessing = Preprocessing.from_dict(metadata["preprocessing"])
        names = metadata.get("class_names")
        if names is not None and len(names) != config.num_classes:
            raise MaxViTError(f"it has {len(names)} class names for {config.num_classes} classes")
    except (MaxViTError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise MaxViTError(f"the description in {path} cannot be used: {error}") from error
    provenance = metadata.get("provenance")
    return Checkpoint(config, tensors, preprocessing, names, provenance if isinstance(provenance, dict) else {})

"""Any checkpoint in the world: find out what it is, and translate it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from maxvit.checkpoints import tensorflow, timm, torchvision
from maxvit.checkpoints.files import read_tensors
from maxvit.config import official_preprocessing
from maxvit.errors import MaxViTError
from maxvit.model import FORMAT, describe

READABLE = "readable are files that maxvit wrote, official TensorFlow checkpoints, and weights of timm and torchvision"


class Checkpoint(NamedTuple):
    """What a file of any format says, as our own file would say it: `MaxViT.restore` takes it.

    Attributes:
        state: Our state dict.
        metadata: As `MaxViT.metadata` gives it.
    """

    state: dict[str, Tensor]
    metadata: dict[str, Any]


def read_checkpoint(path: Path, ema: bool = True) -> Checkpoint:
    """Read weights of any format.

    Args:
        path: A file, or the folder or prefix of an official checkpoint.
        ema: The averaged weights of an official checkpoint; False: the raw ones.

    Raises:
        MaxViTError: If it is missing, damaged or of no format that is known.
    """
    if tensorflow.is_checkpoint(path):
        config, state = tensorflow.read(path, ema=ema)
        provenance = {
            "converted_from": f"TensorFlow {path.name}",
            "weights": "averaged" if ema else "raw",
            "assumed": f"made for {config.image_size[0]} pixels: official files do not say; image_size sets another",
        }
        return Checkpoint(state, describe(config, official_preprocessing(config.image_size), None, provenance))
    if not ema:
        raise MaxViTError(f"{path} holds one set of weights; ema=False is for official TensorFlow checkpoints")
    tensors, metadata = read_tensors(path)
    if metadata.get("format") == FORMAT:
        return Checkpoint(tensors, metadata)
    translate = _foreign(tensors)
    if translate is None:
        found = ", ".join(list(tensors)[:3]) or "no tensors"
        raise MaxViTError(f"{path} is no MaxViT that is known (it holds {found}); {READABLE}")
    name, function = translate
    try:
        config, preprocessing, state = function(tensors)
    except MaxViTError as error:
        raise MaxViTError(f"{path}: {error}") from error
    return Checkpoint(state, describe(config, preprocessing, None, {"converted_from": f"{name} {path.name}"}))


def _foreign(tensors: Mapping[str, Tensor]) -> tuple[str, Any] | None:
    if timm.is_timm(tensors):
        return "timm", timm.from_timm
    if torchvision.is_torchvision(tensors):
        return "torchvision", torchvision.from_torchvision
    return None

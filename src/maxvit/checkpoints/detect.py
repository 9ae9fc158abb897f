"""Any checkpoint in the world: find out what it is, and translate it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from maxvit.checkpoints import tensorflow, timm, torchvision
from maxvit.checkpoints.files import read_tensors
from maxvit.config import Size, official_preprocessing
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


def read_checkpoint(path: Path, ema: bool = True, image_size: int | Size | None = None) -> Checkpoint:
    """Read weights of any format.

    Args:
        path: A file, or the folder or prefix of an official checkpoint.
        ema: The averaged weights of an official checkpoint; False: the raw ones.
        image_size: What an official checkpoint was made for, which its files do not say; None: 224 is assumed. Files
            of other formats say it themselves.

    Raises:
        MaxViTError: If it is missing, damaged or of no format that is known.
    """
    if tensorflow.is_checkpoint(path):
        config, state = tensorflow.read(path, ema=ema)
        provenance = {"converted_from": f"TensorFlow {path.name}", "weights": "averaged" if ema else "raw"}
        if image_size is None:
            side = config.image_size[0]
            provenance["assumed"] = f"made for {side} pixels, which official files do not say; image_size sets another"
        else:
            config = config.resized(image_size)
        preprocessing = official_preprocessing(config.image_size, imagenet_21k=config.num_classes > 1000)
        return Checkpoint(state, describe(config, preprocessing, None, provenance))
    if not ema:
        raise MaxViTError(f"{path} holds one set of weights; ema=False is for official TensorFlow checkpoints")
    tensors, metadata = read_tensors(path)
    if metadata.get("format") == FORMAT:
        return Checkpoint(tensors, metadata)
    translate = _foreign(tensors)
    if translate is None:
        found = ", ".join(list(tensors)[:3])[:200] or "no tensors"
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

"""Any checkpoint in the world: find out what it is, and translate it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from maxvit.checkpoints import plain, tensorflow, timm, torchvision
from maxvit.checkpoints.files import READABLE, read_weights
from maxvit.config import MaxViTConfig, Preprocessing, Sides, official_preprocessing
from maxvit.description import FORMAT, describe
from maxvit.errors import MaxViTError


def read_checkpoint(
    path: Path, ema: bool = True, image_size: int | Sides | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read weights of any format.

    Args:
        path: A file or a folder, see `maxvit.storage.weights_of`; or the folder or prefix of an official checkpoint.
        ema: The averaged weights, of a checkpoint that holds averaged and raw ones; False: the raw ones.
        image_size: What an official checkpoint was made for, which its files do not say; None: 224 is assumed. So with
            timm's networks whose position bias is an MLP; None: timm's own size. Our own tensors without a description
            are then of this size. Files of other formats say it themselves.

    Returns:
        Our state dict, and metadata as our own file would have it: `MaxViT.restore` takes both.

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
        preprocessing = official_preprocessing(config.frame_size, imagenet_21k=config.num_classes > 1000)
        return state, describe(config, preprocessing, None, provenance)
    tensors, metadata, averaged = read_weights(path, averaged=ema)
    if metadata.get("format") == FORMAT:
        return tensors, metadata
    try:
        name, config, preprocessing, state, assumed = _translated(tensors, image_size)
    except MaxViTError as error:
        raise MaxViTError(f"{path}: {error}") from error
    provenance = {"converted_from": f"{name} {path.name}"}
    if averaged or not ema:
        provenance["weights"] = "averaged" if averaged else "raw"
    if assumed:
        provenance["assumed"] = assumed
    return state, describe(config, preprocessing, None, provenance)


def _translated(
    tensors: Mapping[str, Tensor], image_size: int | Sides | None
) -> tuple[str, MaxViTConfig, Preprocessing, dict[str, Tensor], str | None]:
    """Whose they are, the network, its tensors by our names, and what is assumed of it, if anything."""
    if timm.is_timm(tensors):
        config, preprocessing, state = timm.from_timm(tensors, image_size)
        return "timm", config, preprocessing, state, None if image_size else timm.assumed(config)
    if torchvision.is_torchvision(tensors):
        return "torchvision", *torchvision.from_torchvision(tensors), None
    if plain.is_plain(tensors):
        config, preprocessing, state = plain.from_plain(tensors, image_size)
        return FORMAT, config, preprocessing, state, plain.assumed(config)
    raise MaxViTError(f"it is not a MaxViT that is known (it holds {', '.join(list(tensors)[:3])[:200]}); {READABLE}")

"""Tensors of any published file: safetensors, or a PyTorch pickle of which nothing is executed."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maxvit import storage
from maxvit.checkpoints.pickles import is_pickle, load_pickle
from maxvit.checkpoints.wrapped import find_network, flatten
from maxvit.description import FORMAT
from maxvit.errors import MaxViTError

READABLE = "readable are files that maxvit wrote, official TensorFlow checkpoints, and weights of timm and torchvision"


class Weights(NamedTuple):
    """The weights of one network.

    Attributes:
        tensors: By the names of the network that was saved, without what a training program puts before them.
        metadata: Of a file that describes its network; else what there is, of a pickle nothing.
        averaged: They are the averaged ones of two sets.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]
    averaged: bool = False


def read_weights(path: Path, averaged: bool = True) -> Weights:
    """Read the weights of a network. The file's first bytes say what it is, not its name.

    Args:
        path: As for `maxvit.storage.weights_of`.
        averaged: Where a file holds averaged weights and others, the averaged ones; False: the others.

    Raises:
        MaxViTError: If the file is missing, damaged, or holds no network, several, or code.
    """
    path = storage.weights_of(path)
    pickled = path.is_file() and is_pickle(path)
    found, metadata = (flatten(load_pickle(path)), {}) if pickled else storage.load(path)
    if metadata.get("format") == FORMAT and averaged:
        return Weights(found, metadata)
    try:
        place = find_network(found, averaged)
    except MaxViTError as error:
        raise MaxViTError(f"{path}: {error}") from error
    if place is None:
        some = ", ".join(list(found)[:3])[:200] or "no tensors"
        raise MaxViTError(f"{path} is not a MaxViT that is known (it holds {some}); {READABLE}")
    tensors = {name.removeprefix(place.prefix): t for name, t in found.items() if name.startswith(place.prefix)}
    if pickled:
        length = path.stat().st_size
        tensors = {name: _own(tensor, name, path, length) for name, tensor in tensors.items()}
    return Weights(tensors, metadata, place.averaged)


def _own(tensor: Tensor, name: str, path: Path, length: int) -> Tensor:
    """A plain copy that no longer needs the file; a tensor larger than its file is a trick with strides."""
    plain = tensor.device.type == "cpu" and not tensor.is_sparse and not tensor.is_quantized and not tensor.is_nested
    if not plain or tensor.numel() * tensor.element_size() > length:
        raise MaxViTError(f"{path} holds no plain tensor under {name!r}: save a state_dict of dense tensors on the CPU")
    return tensor.detach().clone(memory_format=torch.contiguous_format)

"""Weights of any published file: safetensors, or a PyTorch pickle of which nothing is executed.

They are found by the network's own names, whatever a training program puts around them.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maxvit import storage
from maxvit.checkpoints.pickles import is_pickle, load_pickle
from maxvit.description import FORMAT
from maxvit.errors import MaxViTError

READABLE = "readable are files that maxvit wrote, official TensorFlow checkpoints, and weights of timm and torchvision"
_FIRST = ("stem.conv1.weight", "stem.0.0.weight")  # the first layer's name: ours and timm's, torchvision's
_PLACES = ("state_dict", "model")  # of several networks the one to take, if it is there
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|average|averaged)([._]|$)")


class Weights(NamedTuple):
    """The weights of one network.

    Attributes:
        tensors: By the names of the network that was saved, without what a training program puts before them.
        metadata: Metadata of a file that describes its network; else what there is, of a pickle nothing.
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
    found, metadata = (_flatten(load_pickle(path)), {}) if pickled else storage.load(path)
    if metadata.get("format") == FORMAT and averaged:
        return Weights(found, metadata)
    try:
        prefix, is_averaged = _find_network(found, averaged)
    except MaxViTError as error:
        raise MaxViTError(f"{path}: {error}") from error
    if prefix is None:
        some = ", ".join(list(found)[:3])[:200] or "no tensors"
        raise MaxViTError(f"{path} is not a MaxViT that is known (it holds {some}); {READABLE}")
    tensors = {name.removeprefix(prefix): t for name, t in found.items() if name.startswith(prefix)}
    if pickled:
        length = path.stat().st_size
        tensors = {name: _own(tensor, name, path, length) for name, tensor in tensors.items()}
    return Weights(tensors, metadata, is_averaged)


def _own(tensor: Tensor, name: str, path: Path, length: int) -> Tensor:
    """A plain copy that no longer needs the file; a tensor larger than its file is a trick with strides."""
    plain = tensor.device.type == "cpu" and not tensor.is_sparse and not tensor.is_quantized and not tensor.is_nested
    if not plain or tensor.numel() * tensor.element_size() > length:
        raise MaxViTError(f"{path} holds no plain tensor under {name!r}: save a state_dict of dense tensors on the CPU")
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _flatten(loaded: Any) -> dict[str, Tensor]:
    """All tensors of dictionaries in one another, under the keys that lead to each with dots between."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()  # dictionaries of a file may hold themselves
    waiting = [("", loaded)]
    while waiting:
        prefix, part = waiting.pop()
        if isinstance(part, Tensor):
            found[prefix.removesuffix(".")] = part
        elif isinstance(part, Mapping) and id(part) not in seen:
            seen.add(id(part))
            waiting += [(f"{prefix}{key}.", value) for key, value in [*part.items()][::-1]]
    return found


def _find_network(names: Mapping[str, object], averaged: bool = True) -> tuple[str | None, bool]:
    """Where the weights of a network are, the averaged ones if there are two sets.

    So `state_dict_ema` of timm, `model_ema` of torchvision, `model.` or `net.` of Lightning, `module.` and `_orig_mod.`
    of PyTorch's wrappers are found, in any order and inside one another.

    Args:
        names: Names of all tensors.
        averaged: False: the set that is not averaged.

    Returns:
        What their names begin with, None: nowhere; and whether they are the averaged ones of two sets.

    Raises:
        MaxViTError: If there are several networks, or not both an averaged set and another where the other is wanted.
    """
    prefixes = [
        name.removesuffix(first) for name in names for first in _FIRST if name == first or name.endswith(f".{first}")
    ]
    means = [prefix for prefix in prefixes if _AVERAGED.search(prefix)]
    others = [prefix for prefix in prefixes if prefix not in means]
    if not averaged and not (means and others):
        raise MaxViTError("it holds one set of weights, and not averaged and raw ones: do not ask for the raw ones")
    chosen = (means or others) if averaged else others
    for place in _PLACES:
        chosen = [prefix for prefix in chosen if prefix.startswith(f"{place}.")] or chosen
    if len(chosen) > 1:
        raise MaxViTError(f"it holds several networks ({', '.join(chosen[:3])}): save the state_dict of one of them")
    return next(iter(chosen), None), bool(means and others) and averaged

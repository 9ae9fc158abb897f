"""Tensors of any published file: safetensors, or a PyTorch pickle of which nothing is executed."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxvit import storage
from maxvit.checkpoints.pickles import is_pickle, load_pickle
from maxvit.errors import MaxViTError

_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts put the weights


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the metadata (empty for a pickle). The file's first bytes say what it is, not its name.

    Raises:
        MaxViTError: If the file is missing, damaged, or holds more than tensors.
    """
    if path.is_file() and is_pickle(path):
        return _unwrap(load_pickle(path), path), {}
    return storage.load(path)


def _unwrap(loaded: Any, path: Path) -> dict[str, Tensor]:
    for key in _INSIDE:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
            break
    if not isinstance(loaded, dict) or not loaded:
        raise MaxViTError(f"{path} holds a {type(loaded).__name__} and no tensors by name: save a state_dict")
    odd = [str(name) for name, value in loaded.items() if not isinstance(value, Tensor)]
    if odd:
        raise MaxViTError(f"{path} holds something that is no tensor under {odd[0]!r}: save a state_dict")
    length = path.stat().st_size
    return {str(name).removeprefix("module."): _own(tensor, str(name), path, length) for name, tensor in loaded.items()}


def _own(tensor: Tensor, name: str, path: Path, length: int) -> Tensor:
    """A plain copy that no longer needs the file; a tensor larger than its file is a trick with strides."""
    plain = tensor.device.type == "cpu" and not tensor.is_sparse and not tensor.is_quantized and not tensor.is_nested
    if not plain or tensor.numel() * tensor.element_size() > length:
        raise MaxViTError(f"{path} holds no plain tensor under {name!r}: save a state_dict of dense tensors on the CPU")
    return tensor.detach().clone(memory_format=torch.contiguous_format)

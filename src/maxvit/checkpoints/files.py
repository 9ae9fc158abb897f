"""Tensors of any published file: safetensors, or a PyTorch pickle of which nothing is executed."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxvit import storage
from maxvit.errors import MaxViTError

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".tar")
_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model")  # where training scripts put the weights


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors by name, and the metadata (empty for a pickle).

    Raises:
        MaxViTError: If the file is missing, damaged, or holds more than tensors.
    """
    if path.suffix in _PICKLES and path.is_file():
        return _unwrap(_load_pickle(path), path), {}
    return storage.load(path)


def _load_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise MaxViTError(
            f"{path} holds more than tensors, or is damaged, and is not opened, because a pickle can run code "
            f"({reason}); save the weights alone, as safetensors"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, RuntimeError, AttributeError, TypeError, IndexError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise MaxViTError(f"{path} cannot be read ({reason}); it may be damaged, copy it again") from error
    except (zipfile.BadZipFile, UnicodeDecodeError, OverflowError, MemoryError, AssertionError) as error:
        raise MaxViTError(f"{path} is damaged ({type(error).__name__}): copy it again") from error


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
    return {str(name).removeprefix("module."): tensor for name, tensor in loaded.items()}

"""PyTorch's own files (`.pth`, `.bin`, ...): pickles, in a zip archive or bare, opened without running anything."""

import argparse
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from maxvit.errors import MaxViTError

_ZIP, _PICKLE = b"PK", b"\x80"
_HARMLESS: list[Any] = [argparse.Namespace]  # in which training programs store their arguments
_DAMAGED = (  # what readers of pickles and of zip archives raise on damaged files
    *(OSError, EOFError, ValueError, LookupError, RuntimeError, AttributeError, TypeError, AssertionError),
    *(OverflowError, MemoryError, ImportError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile),
)


def is_pickle(path: Path) -> bool:
    """Whether the first bytes are those of a zip archive or of a pickle, and not of a safetensors file.

    Raises:
        MaxViTError: If it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise MaxViTError(f"{path} cannot be read: {error.strerror}") from error
    # safetensors: 8 bytes of length, then JSON
    return head[8:] != b"{" and head.startswith((_ZIP, _PICKLE))


def load_pickle(path: Path) -> Any:
    """What a file of `torch.save` holds, if that is tensors and plain values.

    Raises:
        MaxViTError: If it is damaged or holds anything else; nothing of it has been run then.
    """
    if path.suffix == ".safetensors":  # PyTorch goes by the name, and so may others who are given this file
        raise MaxViTError(f"{path} is a pickle, not a safetensors file: rename it to {path.with_suffix('.pth').name}")
    try:
        in_archive = zipfile.is_zipfile(path)
        if in_archive:
            _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what the weights_only reader may not support: it says so by an error
            # mapped, a tensor cannot reach beyond the end of its file, whatever size it says it has
            with torch.serialization.safe_globals(_HARMLESS):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=in_archive)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({found[1]})" if found else ", or is damaged"
        raise MaxViTError(
            f"{path} holds more than tensors{what}, and is not opened, because a pickle can run code; save the "
            "weights alone, as safetensors"
        ) from error
    except MaxViTError:
        raise
    except _DAMAGED as error:
        raise MaxViTError(f"{path} cannot be read: it is truncated or damaged; copy it again") from error


def _check_archive(path: Path) -> None:
    """Look at the names in the archive before PyTorch does."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename.rpartition("/")[2] for entry in entries]
    if "archive_version" in names:
        raise MaxViTError(f"{path} is a program of torch.export: give the checkpoint that it was made from")
    if "constants.pkl" in names:
        raise MaxViTError(f"{path} is a TorchScript program, and not weights: save the state_dict of its module")
    if "data.pkl" not in names:
        raise MaxViTError(
            f"{path} is a zip archive, and not one of PyTorch: unpack it, and give the file of weights in it"
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise MaxViTError(f"{path} is a compressed archive, which PyTorch does not write: copy the original again")

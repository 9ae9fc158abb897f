"""What a file says of its network, and whether tensors and layers are those of the network that it describes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from maxvit.config import MaxViTConfig, Preprocessing
from maxvit.errors import MaxViTError
from maxvit.versions import FORMAT_VERSION, check_version, why_unknown

FORMAT = "maxvit"  # how our own files call themselves
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # types that weights may have


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse types that weights cannot have. Raises `MaxViTError`."""
    if dtype not in FLOATS:
        raise MaxViTError(f"dtype is {dtype!r}; choose one of {', '.join(map(str, FLOATS))}")


def describe(
    config: MaxViTConfig,
    preprocessing: Preprocessing,
    class_names: Sequence[str] | None,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """The metadata of our own files, as plain values."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": config.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "class_names": class_names,
        "provenance": provenance,
    }


@contextmanager
def reading(metadata: Mapping[str, Any], source: str) -> Iterator[None]:
    """Within it, what `describe` gave is read.

    Args:
        metadata: Of a file of ours.
        source: The file, for messages.

    Raises:
        MaxViTError: If it is of a later format, or an entry is missing, unknown or not allowed.
    """
    version = metadata.get("format_version")
    check_version(version, source)
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        more = why_unknown(version, source)
        raise MaxViTError(f"the description in {source} cannot be used: {error}{more}") from error


def check_same(network: nn.Module, wanted: nn.Module) -> None:
    """Refuse a network that has not the layers and tensors of another, by name.

    Args:
        network: That is to be saved.
        wanted: What its description makes, on any device.

    Raises:
        MaxViTError: If they differ.
    """
    problems = misfits(network.state_dict(), wanted.state_dict())
    kinds = {name: type(module) for name, module in network.named_modules() if name}
    problems += [
        f"{name} is {kinds[name].__name__}, wanted is {type(module).__name__}"
        for name, module in wanted.named_modules()
        if kinds.get(name, type(module)) is not type(module)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise MaxViTError(
            f"the network has other layers than its configuration describes, and could not be read back: "
            f"{'; '.join(problems[:3])}{more}; keep its state_dict with torch.save"
        )


def misfits(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """What keeps tensors from being those of a network, a phrase each."""
    problems = [f"{n} is missing" for n in wanted if n not in state]
    problems += [f"{n} is not part of the network" for n in state if n not in wanted]
    for n in (n for n in wanted if n in state):
        if state[n].shape != wanted[n].shape:
            problems.append(f"{n} has shape {tuple(state[n].shape)}, wanted is {tuple(wanted[n].shape)}")
        elif state[n].dtype not in (FLOATS if wanted[n].is_floating_point() else [wanted[n].dtype]):
            problems.append(f"{n} has type {state[n].dtype}, wanted is {wanted[n].dtype}")
    return problems


def checked_names(class_names: Sequence[str] | None, num_classes: int) -> list[str] | None:
    """One name for each class, as text. Raises `MaxViTError` for another number of them."""
    if isinstance(class_names, str | Mapping):
        raise MaxViTError(f"class_names is {class_names!r:.80}; it takes a list, one name for each class")
    if class_names is not None and len(class_names) != num_classes:
        raise MaxViTError(f"{len(class_names)} class names were given for {num_classes} classes; give one for each")
    return None if class_names is None else [str(name) for name in class_names]

"""Where commands compute."""

import re

import torch

from maxvit.errors import MaxViTError
from maxvit.kernels.cpu.threads import limit_threads


def choose_device(text: str = "auto", rank: int = 0, world: int = 1) -> torch.device:
    """The device that a user's word means here.

    Args:
        text: "auto": CUDA where there is a GPU, then MPS (Apple's GPUs), then the CPU. "cpu", "cuda" or "mps": that
            one. "cuda:N": that GPU of several, counted from 0.
        rank: The number of this process among several on this machine: each takes the GPU of its number.
        world: How many they are.

    Raises:
        MaxViTError: If the word means nothing, there is no such device here, or it cannot be that of several processes.
    """
    limit_threads()
    found = re.fullmatch(r"(auto|cpu|cuda|mps)(?::(\d+))?", text)
    if found is None or (found[2] and found[1] != "cuda"):
        raise MaxViTError(f"the device is {text!r}; it takes auto, cpu, cuda, cuda:N (a GPU by its number) or mps")
    kind, number = found[1], found[2]
    if kind == "auto":
        alone = "mps" if "mps" in available() and world == 1 else "cpu"
        kind = "cuda" if "cuda:0" in available() else alone
    if kind == "cpu":
        return torch.device("cpu")
    if world > 1 and (number is not None or kind == "mps"):
        raise MaxViTError(f"the device is {text}, which is one, and there are {world} processes: give --devices 1")
    if kind == "cuda" and number is None and rank >= torch.cuda.device_count() > 0:
        there = torch.cuda.device_count()
        raise MaxViTError(f"{world} processes need a GPU each, and this machine has {there}: give --devices {there}")
    wanted = "mps" if kind == "mps" else f"cuda:{int(number or rank)}"
    if wanted not in available():
        without = kind == "cuda" and torch.version.cuda is None and torch.version.hip is None
        why = "; this PyTorch was built without CUDA" if without else ""
        raise MaxViTError(f"the device is {text}, which is not here: there is {', '.join(available())}{why}")
    return torch.device(wanted)


def available() -> list[str]:
    """The devices of this machine that PyTorch can use, the fastest first."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return [*gpus, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def how_many(wanted: int | None, text: str = "auto") -> int:
    """Processes on this machine: as many as are wanted, else one for each GPU where all of them are meant, else one.

    Raises:
        MaxViTError: As `choose_device`.
    """
    every = choose_device(text).type == "cuda" and ":" not in text
    number = wanted or (torch.cuda.device_count() if every else 1)
    choose_device(text, number - 1, number)
    return number

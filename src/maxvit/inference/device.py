"""Where commands compute."""

import torch


def best_device(number: int | None = None) -> torch.device:
    """A CUDA device if there is one, of several the one with this number; else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda") if number is None else torch.device("cuda", number)

"""Cards on which the Triton kernels are chosen without being asked for."""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

# Name of a card, as CUDA gives it, and the record in benchmarks/results that shows the present kernels faster there
# than PyTorch, with its answers. None has run them yet: the record of the H200 is of their first version.
CARDS: Mapping[str, str] = MappingProxyType({})


def on_record(x: Tensor) -> bool:
    """Whether x is on such a card."""
    return x.is_cuda and torch.cuda.get_device_name(x.device) in CARDS

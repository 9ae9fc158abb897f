"""What a cell is, and where it runs: on a GPU in full, or on a CPU to see that the script works."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from gpu_timing import Work

from maxvit.config import VARIANTS, MaxViTConfig


@dataclass(frozen=True)
class Setting:
    """Where cells run.

    Attributes:
        device: Device of all tensors.
        dry: Whether only the script is tried: every network is the smallest, in float32, with one image, and nothing
            is compiled.
    """

    device: torch.device
    dry: bool

    @property
    def dtype(self) -> torch.dtype:
        """Type of maps."""
        return torch.float32 if self.dry else torch.bfloat16

    @property
    def compiles(self) -> bool:
        """Whether `torch.compile`'s contenders take part."""
        return not self.dry

    def config(self, name: str, side: int) -> MaxViTConfig:
        """The network that is run, for the images that it is given."""
        if self.dry:  # each stage has a block that does not stride
            return dataclasses.replace(VARIANTS["maxvit_micro"], depths=(2, 2, 2, 2)).resized(64)
        return VARIANTS[name].resized(side)

    def batch(self, wanted: int) -> int:
        """Images that are run."""
        return 2 if self.dry else wanted

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """PyTorch's mixed precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled and not self.dry)


@dataclass(frozen=True)
class Cell:
    """One comparison.

    Attributes:
        name: What is compared.
        work: Makes inputs and contenders.
        budget_s: For the rounds, once all is warm.
    """

    name: str
    work: Callable[[Setting], Work]
    budget_s: float

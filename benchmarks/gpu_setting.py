"""What a cell of the measurement is, and where it runs: on a GPU in full, or on a CPU to see that the script works."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from maxvit.config import VARIANTS, MaxViTConfig


@dataclass(frozen=True)
class Setting:
    """Where cells run.

    Attributes:
        device: Device of all tensors.
        dry: Whether only the script is tried: every network is the smallest, in float32, with two images, nothing is
            compiled, and nothing is done more than once.
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
        if self.dry:  # its last stage has a block that does not stride
            small = dataclasses.replace(
                VARIANTS["maxvit_micro"],
                stem_channels=16,
                channels=(16, 16, 16, 32),
                depths=(1, 1, 1, 2),
                window_size=(2, 2),
                grid_size=(2, 2),
                head_dim=16,
            )
            return small.resized(32)
        return VARIANTS[name].resized(side)

    def batch(self, wanted: int) -> int:
        """Images that are run."""
        return 2 if self.dry else wanted

    def times(self, wanted: int) -> int:
        """How often something is repeated."""
        return 1 if self.dry else wanted

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """PyTorch's mixed precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled and not self.dry)


Result = dict[str, Any]  # of a cell, as JSON takes it


@dataclass(frozen=True)
class Cell:
    """A row of a part of the measurement.

    Attributes:
        name: What is measured.
        measure: Does it, before a deadline of `time.monotonic`.
        seconds: That it takes on a card, about: it is not begun with less.
    """

    name: str
    measure: Callable[[Setting, float], Result]
    seconds: float

"""What a worker process is told, as plain data, and what a contender is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from maxvit.config import MaxViTConfig, Size

if TYPE_CHECKING:
    from torch import nn

What = Literal["inference", "training"]
Weights = Literal["official", "torchvision"]
Precision = Literal["fp32", "bf16"]
Array = npt.NDArray[np.float32]
Engine = Callable[[Array], Array]  # images (B, 3, H, W) to logits (B, classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to run: everything but the contender.

    Attributes:
        what: Forward passes, or training steps.
        weights: Which network: the official one, which timm has too, or torchvision's.
        config: The network's shape.
        image_size: (height, width).
        batch: Images a run.
        precision: "bf16": PyTorch computes under autocast.
        drop_path: Whether training drops paths, at the rate of `config`; not while answers are compared.
        device: "cpu" or "cuda".
        threads: To compute with, on the CPU.
        folder: Where the weights of both networks and the images are.
        file: What the contender exported, or will.
    """

    what: What
    weights: Weights
    config: MaxViTConfig
    image_size: Size
    batch: int
    precision: Precision
    drop_path: bool
    device: str
    threads: int
    folder: Path
    file: Path

    @property
    def drop_path_rate(self) -> float:
        """Drop path rate of the deepest block."""
        return self.config.drop_path_rate if self.drop_path else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to run the network. Its functions are those of a module, so that another process finds them by name.

    Attributes:
        name: On the command line.
        label: For people.
        open: Builds it: a PyTorch module, or a function of arrays.
        weights: The networks that it can run.
        what: What it can do.
        imports: Modules that it needs, imported before memory is counted.
        export: Writes the file that it opens, in a process of its own; None: it opens none.
        exact: Whether its answers must be those of the plain network; otherwise agreement is part of the result.
        anywhere: Whether it runs on any device and in any precision; otherwise on the CPU in fp32 alone.
    """

    name: str
    label: str
    open: "Callable[[Job], nn.Module | Engine]"
    weights: tuple[Weights, ...] = ("official", "torchvision")
    what: tuple[What, ...] = ("inference",)
    imports: tuple[str, ...] = ("torch",)
    export: Callable[[Job], None] | None = None
    exact: bool = True
    anywhere: bool = True

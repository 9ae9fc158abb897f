"""What a task takes and gives, beside images: predictions, targets, metrics, and what changes a network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from maxvit.config import Preprocessing
from maxvit.tasks.network import Network
from maxvit.tasks.suspicion import Suspicion

Predicted = Any  # for one image, on the CPU, in the pixels of the image as it was decoded: a task says what it is
Target = Any  # of one image: a tensor, or a dictionary of tensors
Cell = str | int | float


class Forward(Protocol):
    """A network in use, or what stands in for it, such as an exported file."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What it expects of an image."""
        ...

    def __call__(self, images: Tensor) -> Any:
        """What the network gives for images (B, C, H, W)."""
        ...


class Changed:
    """A network with another forward.

    Args:
        network: The network.
        forward: What is called instead.
    """

    def __init__(self, network: Forward, forward: Callable[[Tensor], Any]) -> None:
        self.preprocessing, self._forward = network.preprocessing, forward

    def __call__(self, images: Tensor) -> Any:
        return self._forward(images)


class Metric(Protocol):
    """Metrics of many predictions, which may be computed in parts by several processes."""

    def add(self, predictions: Sequence[Predicted], targets: Sequence[Target]) -> None:
        """Count some images."""
        ...

    def state(self) -> Any:
        """What was counted, as something that can be pickled."""
        ...

    def merge(self, state: Any) -> None:
        """Count what another process has counted."""
        ...

    def compute(self) -> dict[str, float]:
        """Metrics by name, the most telling first; a share is from 0 to 1."""
        ...

    def rows(self) -> list[dict[str, Cell]]:
        """A table with a row for each class and the same columns in each; empty where there is nothing to tell."""
        ...


@dataclass(frozen=True, slots=True)
class Baseline:
    """How well a simple method does, for a network to be compared with.

    Attributes:
        name: What it is, in words.
        metric: The metric, one of those that the task's `metric` computes.
        value: Its value; higher is better.
    """

    name: str
    metric: str
    value: float


class Probe(Protocol):
    """What fits the last layer of a network that stays as it is otherwise."""

    def __call__(self, network: Network, embeddings: Tensor, targets: Any) -> list[Suspicion] | None:
        """Change the last layer.

        Args:
            network: On the CPU.
            embeddings: (n, F) float32, of images as evaluation prepares them, see `with_embeddings`.
            targets: Those of these images, collated.

        Returns:
            Labels that look wrong on the way, the least probable first, by the row of the image; None: not judged.

        Raises:
            ImportError: If a library is missing.
        """
        ...


class Distil(Protocol):
    """What makes a network learn from a teacher too."""

    def __call__(self, objective: nn.Module) -> nn.Module:
        """An objective of the network, see `Task.objective`, with the teacher's answers in its loss."""
        ...


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """What an exported file computes.

    Attributes:
        module: From images (B, C, H, W) to a tensor, or to a tuple of them.
        outputs: Their names.
        any_batch: It takes any number of images; else the number is part of the file.
        of_pieces: It takes pieces of an image, so that an image keeps its shape; else it takes whole images.
        difference: How far what a file gives is from what the module gives, 0: not at all; None: the largest difference
            of two numbers over the root mean square of the module's.
    """

    module: nn.Module
    outputs: tuple[str, ...] = ("outputs",)
    any_batch: bool = True
    of_pieces: bool = False
    difference: Callable[[Sequence[Tensor], Sequence[Tensor]], float] | None = None

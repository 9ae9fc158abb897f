"""What a task is: a head, a loss, a metric, a data format and a picture. `docs/tasks.md` shows how to add one."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from maxvit.config import Preprocessing, Size
from maxvit.data.annotated import AnnotatedImages, AnnotatedSplits
from maxvit.data.images import ImageLike, decode
from maxvit.data.transforms import preprocess, target_size
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT

Answer = Any  # of one image, on the CPU, in the pixels of the image as it was decoded: a task says what it is
Target = Any  # of one image: a tensor, or a dictionary of tensors


class TaskSettings(BaseModel):
    """The section `task` of a recipe; a task adds its own. They travel with the checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str


class Metric(Protocol):
    """Figures of many answers, which may be computed in parts by several processes."""

    def add(self, answers: Sequence[Answer], targets: Sequence[Target]) -> None:
        """Count some images."""
        ...

    def state(self) -> Any:
        """What was counted, as something that can be pickled."""
        ...

    def merge(self, state: Any) -> None:
        """Count what another process has counted."""
        ...

    def compute(self) -> dict[str, float]:
        """Figures by name, the most telling first; a share is from 0 to 1."""
        ...

    def rows(self) -> list[dict[str, str | int | float]]:
        """A table, a row a class, with the same columns in each; empty where there is nothing to tell."""
        ...


@dataclass(frozen=True, slots=True)
class ExportSpec:
    """What an exported file computes.

    Attributes:
        module: From images (B, C, H, W) to a tensor, or to a tuple of them.
        outputs: Their names.
        any_batch: It takes any number of images; else the number is part of the file.
        difference: How far what a file gives is from what the module gives, 0: not at all; None: the largest difference
            of two numbers over the root mean square of the module's.
    """

    module: nn.Module
    outputs: tuple[str, ...] = ("answers",)
    any_batch: bool = True
    difference: Callable[[Sequence[Tensor], Sequence[Tensor]], float] | None = None


class Task(ABC):
    """One kind of answer, from the files of a data set to a picture. It holds settings, and no network.

    Args:
        settings: Of the recipe or the checkpoint, of the class `Settings`.

    Attributes:
        name: As in `--task name`.
        Settings: What can be set.
        recipe: The recipe that trains it where none is given.
        monitor: The figure of `Metric.compute` that chooses the best epoch; the highest is the best.
        val_losses: The scores that `judge` gives.
        fits: The values of `data.fit` for which training and evaluation show the same shapes; the first is the default.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[TaskSettings]]
    recipe: ClassVar[str]
    monitor: ClassVar[str]
    val_losses: ClassVar[tuple[str, ...]] = ()
    fits: ClassVar[tuple[str, ...]] = ("aspect",)

    def __init__(self, settings: TaskSettings) -> None:
        if not isinstance(settings, self.Settings):
            raise TypeError(f"settings are {type(settings).__name__}; {self.name} takes {self.Settings.__name__}")
        self.settings = settings

    # the data format

    @classmethod
    def recognizes(cls, path: Path) -> bool:
        """Whether a path looks like a data set of this task, at a glance: a classifier then asks for the task."""
        return False

    @abstractmethod
    def load(self, path: Path, val_fraction: float, seed: int) -> AnnotatedSplits:
        """Read a data set: what to learn from, to choose the best epoch by, and to report on.

        Raises:
            MaxViTError: If something is missing or not as it should be; it names the file.
        """

    @abstractmethod
    def load_eval(self, path: Path, class_names: Sequence[str]) -> AnnotatedImages:
        """The images to judge a network by: the data set's test part, else its validation part, else all.

        Raises:
            MaxViTError: As `load`, or if there are classes that the network lacks.
        """

    @abstractmethod
    def augment(self, spec: Preprocessing, source: ImageLike, annotation: Any) -> tuple[Tensor, Target]:
        """What training makes of an image: (C, H, W) with (H, W) = `spec.image_size`, normalised, and its truth.

        It draws from PyTorch's random numbers. Raises `MaxViTError` where image or annotation cannot be read.
        """

    def prepare(self, spec: Preprocessing, image: ImageLike) -> Tensor:
        """What evaluation and prediction make of an image: all of it, as (C, H, W) of `prepared_size`, normalised."""
        decoded = decode(image, spec)
        size = self.prepared_size(spec, (decoded.height, decoded.width))
        return preprocess(dataclasses.replace(spec, image_size=size, fit="squash", crop_pct=1.0), decoded)

    def prepared_size(self, spec: Preprocessing, size: Size) -> Size:
        """The size that `prepare` gives an image of `size`; images of one size travel together."""
        return target_size(spec, size)

    @abstractmethod
    def target(self, annotation: Any, size: Size) -> Target:
        """What answers for an image of `size` (as decoded) are compared with. Raises `MaxViTError`."""

    def collate(self, targets: Sequence[Target]) -> Any:
        """The targets of a training batch, for `losses`."""
        return list(targets)

    # the head and the loss

    @abstractmethod
    def make_head(self, backbone: MaxViT, num_classes: int) -> nn.Module:
        """The head, freshly initialised. See `TaskNetwork` for what is asked of it."""

    @abstractmethod
    def losses(self, network: nn.Module, images: Tensor, targets: Any) -> dict[str, Tensor]:
        """In training mode: "loss", whose gradient is followed, and what else a person may want to see, scalars.

        Args:
            network: A `TaskNetwork`.
            images: (B, C, H, W).
            targets: As `collate` gives them, on the network's device.
        """

    @abstractmethod
    def answers(self, network: nn.Module, images: Tensor, sizes: Sequence[Size]) -> list[Answer]:
        """In evaluation mode: what the network says of each image.

        Args:
            network: A `TaskNetwork`.
            images: (B, C, H, W), prepared.
            sizes: Of each image as it was decoded.
        """

    def judge(
        self, network: nn.Module, images: Tensor, sizes: Sequence[Size], targets: Sequence[Target]
    ) -> tuple[dict[str, Tensor], list[Answer]]:
        """Scores named in `val_losses`, means over the images, and the answers."""
        return {}, self.answers(network, images, sizes)

    # the metric

    @abstractmethod
    def metric(self, class_names: Sequence[str]) -> Metric:
        """Of no images yet."""

    # the picture, and what is said without one

    @abstractmethod
    def draw_prediction(self, image: Image.Image, answer: Answer, class_names: Sequence[str]) -> Image.Image:
        """The answer drawn over the image (RGB, as decoded); it has the same size."""

    @abstractmethod
    def draw_target(self, image: Image.Image, truth: Target, class_names: Sequence[str]) -> Image.Image:
        """The truth drawn in the same way."""

    @abstractmethod
    def summary(self, answer: Answer, class_names: Sequence[str]) -> str:
        """The answer in a line."""

    @abstractmethod
    def to_json(self, answer: Answer, class_names: Sequence[str]) -> dict[str, Any]:
        """The answer as plain values for JSON."""

    @abstractmethod
    def write(self, answers: Iterable[tuple[str, Size, Answer]], out: Path, class_names: Sequence[str]) -> None:
        """Write answers in the format that the field uses, under a temporary name until all are there.

        Args:
            answers: Name of the image, its size as decoded, and the answer, one after another.
            out: A file or a folder, as the task has it.
            class_names: Of the network.

        Raises:
            MaxViTError: If it cannot be written, or `out` is of a kind that the task does not write.
        """

    # export

    def export_spec(self, network: nn.Module) -> ExportSpec:
        """What `maxvit export` writes: from prepared images (B, C, H, W) to tensors whose batch is that of the images.

        Raises:
            MaxViTError: If the network cannot be written as a graph.
        """
        raise MaxViTError(f"{self.name} has no export yet: predict and serve from the checkpoint")

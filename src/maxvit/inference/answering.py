"""From images to the answers of a task's network."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from maxvit.config import Size
from maxvit.data.images import ImageLike, decode
from maxvit.data.sampling import EvaluationBatches
from maxvit.errors import MaxViTError
from maxvit.inference.engines import say
from maxvit.inference.portions import Portions
from maxvit.inference.precision import Arithmetic, choose_precision
from maxvit.inference.predictor import LOOK_AHEAD, is_one
from maxvit.kernels.optimize import optimize
from maxvit.tasks import task_for
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import Answer


@dataclass(frozen=True, slots=True)
class Answered:
    """What a network says of one image, or why it could not be read.

    Attributes:
        name: The path, or "image 3" for what has none.
        size: (height, width) as decoded; (0, 0) if it could not be read.
        answer: In the task's own form; None if it could not be read.
        error: A sentence, or None.
    """

    name: str
    size: Size
    answer: Answer
    error: str | None = None


class TaskPredictor:
    """Answer for images with a task's network; class names, preprocessing and settings come with it.

    Args:
        network: It is left as it is; its backbone is optimised in a copy.
        batch_size: Images per forward.
        device: Where PyTorch computes; None: where the network is.
        precision: As for `Predictor`.
    """

    def __init__(
        self,
        network: TaskNetwork,
        batch_size: int = 8,
        device: torch.device | str | None = None,
        precision: str = "auto",
    ) -> None:
        if batch_size < 1:
            raise MaxViTError(f"batch_size is {batch_size}; it takes whole numbers from 1 up")
        self.task, self.batch_size, self.class_names = task_for(network), batch_size, network.class_names
        network = copy.deepcopy(network).to(device).eval()
        weight = next(network.parameters())
        precision = choose_precision(precision, weight.device)
        fast = optimize(network.backbone, backend="auto" if precision == "fp32" else "torch")
        self.network, self.preprocessing = network.with_backbone(fast).requires_grad_(False), network.preprocessing
        self.device, self._arithmetic = weight.device, Arithmetic(precision, weight, say)
        self._name = f"{fast.engine} on {self.device.type}"
        self._portions = Portions(self.device, say)

    @property
    def name(self) -> str:
        """What computes, in a few words."""
        return self._name if self._arithmetic.precision == "fp32" else f"{self._name}, {self._arithmetic.precision}"

    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> list[Answered]:
        """Answer for one image or several, in order. For one that cannot be read, `error` says why."""
        return list(self.stream([images] if is_one(images) else images))  # type: ignore[arg-type, list-item]

    def stream(self, images: Iterable[ImageLike]) -> Iterator[Answered]:
        """The same, each answer as soon as its batch is done."""
        source = enumerate(images)
        while chunk := list(islice(source, self.batch_size * LOOK_AHEAD)):
            yield from self._chunk(chunk)

    def prepare(self, image: ImageLike) -> tuple[Tensor, Size]:
        """One image as the network takes it, and its size as decoded. Raises `MaxViTError` if it cannot be read."""
        decoded = decode(image, self.preprocessing)
        return self.task.prepare(self.preprocessing, decoded), (decoded.height, decoded.width)

    def answers(self, images: Tensor, sizes: list[Size]) -> list[Answer]:
        """Of prepared images of one size (B, C, H, W), which had these sizes."""
        parts = self._portions(lambda part: self._answers(images[part], sizes[part]), images)
        return [answer for part in parts for answer in part]

    def _answers(self, images: Tensor, sizes: list[Size]) -> list[Answer]:
        images = images.to(self.device)
        with torch.inference_mode():
            self._arithmetic.compare(self.network.maps, images)
            with self._arithmetic.autocast():
                return self.task.answers(self.network, images, sizes)

    def _chunk(self, chunk: list[tuple[int, ImageLike]]) -> list[Answered]:
        results: dict[int, Answered] = {}
        prepared: dict[int, tuple[Tensor, Size]] = {}
        names = {i: str(image) if isinstance(image, str | Path) else f"image {i}" for i, image in chunk}
        for i, image in chunk:
            try:
                prepared[i] = self.prepare(image)
            except MaxViTError as error:
                results[i] = Answered(names[i], (0, 0), None, str(error))
        readable = list(prepared)
        buckets = [(t.shape[1], t.shape[2]) for t, _ in prepared.values()]
        for batch in EvaluationBatches(buckets, self.batch_size):
            together = [readable[k] for k in batch]
            sizes = [prepared[i][1] for i in together]
            answers = self.answers(torch.stack([prepared[i][0] for i in together]), sizes)
            for i, size, answer in zip(together, sizes, answers, strict=True):
                results[i] = Answered(names[i], size, answer)
        return [results[i] for i, _ in chunk]

"""From images to predictions, whatever the task."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maxvit.config import Size
from maxvit.data import transforms
from maxvit.data.images import ImageLike, read_size
from maxvit.data.sampling import EvaluationBatches
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, open_engine, predict
from maxvit.model import MaxViT
from maxvit.tasks.network import Network
from maxvit.tasks.task import Predicted, Task

LOOK_AHEAD = 8  # batches of images, where they differ in size, of which those of one size are put together


def preprocess(model: MaxViT, image: ImageLike) -> Tensor:
    """What a model's weights expect of an image: decode, centre crop, resize, normalise.

    Args:
        model: Its `preprocessing` says how.
        image: A path, the bytes of a file, a PIL image, or an array (H, W) or (H, W, 3).

    Returns:
        A batch of one, (1, C, H, W) float32, for `model(...)`.

    Raises:
        MaxViTError: If it is not an image.
    """
    return transforms.preprocess(model.preprocessing, image)[None]


def is_one(images: ImageLike | Iterable[ImageLike]) -> bool:
    """Whether it is an image, and not several."""
    return isinstance(images, str | Path | bytes | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a network says of one image, or why the image could not be read.

    Attributes:
        name: The path, or "image 3" for what has none.
        size: (height, width) as decoded; (0, 0) if it could not be read.
        value: In the task's own form, such as probabilities (classes,) or a mask (height, width); None if it could not
            be read.
        error: A sentence, or None.
        task: What was predicted.
        class_names: Class names of the network.
    """

    name: str
    size: Size
    value: Predicted
    error: str | None = None
    task: Task = field(repr=False, kw_only=True)
    class_names: list[str] = field(repr=False, kw_only=True)

    @property
    def summary(self) -> str:
        """The prediction in a line."""
        return self.task.summary(self.value, self.class_names)

    def to_json(self) -> dict[str, Any]:
        """The prediction as plain values."""
        return self.task.to_json(self.value, self.class_names)

    def draw(self, image: Image.Image) -> Image.Image:
        """The prediction drawn over the image (RGB, as decoded)."""
        return self.task.draw_prediction(image, self.value, self.class_names)


class Predictor:
    """Predict with a checkpoint and nothing else: task, class names and preprocessing come from the file.

    Args:
        model: A network, which is moved to `device`; or the path of a checkpoint, a run's folder or an exported
            file, see `open_engine`.
        batch_size: Images per forward; None: the task's.
        device: Where PyTorch computes; None: where the model is.
        engine: "auto": the file decides; or "torch" or "onnxruntime".
        precision: "auto": bf16 or fp16 on a GPU, fp32 elsewhere; or one of these. See `choose_precision`.
        settings: Settings of the task, such as {"top_k": 3}, in place of the network's.

    Raises:
        MaxViTError: If the file cannot be read, or not by this engine, a setting is not allowed, or the network has no
            classifier.
    """

    def __init__(
        self,
        model: Network | str | Path,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        engine: str = "auto",
        precision: str = "auto",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise MaxViTError(f"batch_size is {batch_size}; it takes whole numbers from 1 up")
        self.engine: Engine = open_engine(model, engine, device, precision=precision, settings=settings)
        self.task, self.preprocessing = self.engine.task, self.engine.preprocessing
        self.batch_size = batch_size or self.task.batch_size
        self.class_names = self.task.names(self.engine.class_names, self.engine.config)

    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """Predict for one image or several, in order. For one that cannot be read, `error` says why."""
        return list(self.stream([images] if is_one(images) else images))  # type: ignore[list-item, arg-type]

    def stream(self, images: Iterable[ImageLike]) -> Iterator[Prediction]:
        """The same, each prediction as soon as its batch is done."""
        source = enumerate(images)
        ahead = LOOK_AHEAD if self.preprocessing.fit == "aspect" else 1
        while chunk := list(islice(source, self.batch_size * ahead)):
            yield from self._predict(chunk)

    def prepare(self, image: ImageLike) -> tuple[Tensor, Size]:
        """One image as the network takes it, (C, H, W) float32, and its size as decoded.

        Raises:
            MaxViTError: If it cannot be read.
        """
        return self.task.prepare(self.preprocessing, image), read_size(image)

    def predict(self, images: Tensor, sizes: Sequence[Size]) -> list[Predicted]:
        """For prepared images of one size (B, C, H, W), which were decoded with these sizes."""
        return predict(self.engine, images, sizes)

    def _predict(self, chunk: list[tuple[int, ImageLike]]) -> list[Prediction]:
        results: dict[int, Prediction] = {}
        prepared: dict[int, tuple[Tensor, Size]] = {}
        names = {i: str(image) if isinstance(image, str | Path) else f"image {i}" for i, image in chunk}
        for i, image in chunk:
            try:
                prepared[i] = self.prepare(image)
            except MaxViTError as error:
                results[i] = self._prediction(names[i], (0, 0), None, str(error))
        readable = list(prepared)
        for batch in EvaluationBatches([(t.shape[1], t.shape[2]) for t, _ in prepared.values()], self.batch_size):
            together = [readable[k] for k in batch]
            sizes = [prepared[i][1] for i in together]
            values = self.predict(torch.stack([prepared[i][0] for i in together]), sizes)
            for i, size, value in zip(together, sizes, values, strict=True):
                results[i] = self._prediction(names[i], size, value)
        return [results[i] for i, _ in chunk]

    def _prediction(self, name: str, size: Size, value: Predicted, error: str | None = None) -> Prediction:
        return Prediction(name, size, value, error, task=self.task, class_names=self.class_names)

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
from maxvit.data.bands import Bands
from maxvit.data.images import ImageLike, read_size
from maxvit.data.sampling import EvaluationBatches
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, open_engine, say
from maxvit.inference.ensemble import Ensemble, as_several
from maxvit.model import MaxViT
from maxvit.tasks.network import Network
from maxvit.tasks.protocols import Predicted
from maxvit.tasks.task import Task

LOOK_AHEAD = 8  # batches of images, where they differ in size, of which those of one size are put together


def preprocess(model: MaxViT, image: ImageLike) -> Tensor:
    """What a model's weights expect of an image: decode, centre crop, resize, normalise.

    Args:
        model: Its `preprocessing` says how.
        image: A path, the bytes of a file, a PIL image, or an array (H, W) or (H, W, C).

    Returns:
        A batch of one, (1, C, H, W) float32, for `model(...)`.

    Raises:
        MaxViTError: If it is not an image.
    """
    return transforms.preprocess(model.preprocessing, image)[None]


def is_one(images: ImageLike | Iterable[ImageLike]) -> bool:
    """Whether it is an image, and not several."""
    if isinstance(images, np.ndarray):
        return images.ndim < 4
    return isinstance(images, str | Path | bytes | Image.Image | Bands)


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


@dataclass(frozen=True, slots=True)
class Prepared:
    """An image as networks take it.

    Attributes:
        images: (C, H, W) float32, one for each of `Ensemble.specs`.
        size: (height, width) as decoded, in whose pixels the prediction is.
    """

    images: tuple[Tensor, ...]
    size: Size

    @property
    def shape(self) -> tuple[int, ...]:
        """Those that have the same are computed together."""
        return tuple(side for image in self.images for side in image.shape)


class Predictor:
    """Predict with a checkpoint and nothing else: task, class names and preprocessing come from the file.

    Args:
        model: A network, which is moved to `device`; or the path of a checkpoint, a run's folder or an exported
            file, see `open_engine`. Several in a list predict together: the mean of their predictions, where the task
            has one. They are for the same classes; each sees an image as its own weights expect.
        batch_size: Images per forward; None: the task's.
        device: Where PyTorch computes; None: where the model is.
        engine: "auto": the file decides; or "torch" or "onnxruntime".
        precision: "auto": bf16 or fp16 on a GPU, fp32 elsewhere; or one of these. See `choose_precision`.
        settings: Settings of the task, such as {"top_k": 3}, in place of the network's.
        tta: "flip": the mean for an image and its mirror image, in twice the time; not for characters, which change
            their meaning. "none": the image alone.

    Raises:
        MaxViTError: If the file cannot be read, or not by this engine, a setting is not allowed, the network has no
            classifier, or the task no mean that is wanted.
    """

    def __init__(
        self,
        model: Network | str | Path | Sequence[Network | str | Path],
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        engine: str = "auto",
        precision: str = "auto",
        settings: Mapping[str, Any] | None = None,
        tta: str = "none",
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise MaxViTError(f"batch_size is {batch_size}; it takes whole numbers from 1 up")
        engines = [
            open_engine(one, engine, device, precision=precision, settings=settings) for one in as_several(model)
        ]
        self.ensemble = Ensemble(engines, tta)
        if said := self.ensemble.compromise:
            say(said)
        self.task, self.preprocessing = self.ensemble.task, self.ensemble.specs[0]
        self.batch_size = batch_size or self.task.batch_size
        self.class_names = self.ensemble.class_names

    @property
    def engine(self) -> Engine:
        """What computes. Raises `MaxViTError` if several networks predict together: see `ensemble`."""
        return self.ensemble.only

    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """Predict for one image or several, in order. For one that cannot be read, `error` says why."""
        return list(self.stream([images] if is_one(images) else images))  # type: ignore[list-item, arg-type]

    def stream(self, images: Iterable[ImageLike]) -> Iterator[Prediction]:
        """The same, each prediction as soon as its batch is done."""
        source = enumerate(images)
        ahead = LOOK_AHEAD if any(spec.fit == "aspect" for spec in self.ensemble.specs) else 1
        while chunk := list(islice(source, self.batch_size * ahead)):
            yield from self._predict(chunk)

    def prepare(self, image: ImageLike) -> Prepared:
        """One image as the networks take it. Raises `MaxViTError` if it cannot be read."""
        return Prepared(tuple(self.task.prepare(spec, image) for spec in self.ensemble.specs), read_size(image))

    def predict(self, images: Sequence[Prepared]) -> list[Predicted]:
        """For prepared images of one shape. Raises `MaxViTError` if one is not what `prepare` gives."""
        for one in images if isinstance(images, Sequence) else [images]:
            if not isinstance(one, Prepared):
                raise MaxViTError(
                    f"a {type(one).__name__} was given; predict takes a list of what prepare gives: call the predictor "
                    "itself with images or paths"
                )
        together = [torch.stack(tensors) for tensors in zip(*(one.images for one in images), strict=True)]
        return self.ensemble.predict(together, [one.size for one in images])

    def _predict(self, chunk: list[tuple[int, ImageLike]]) -> list[Prediction]:
        results: dict[int, Prediction] = {}
        prepared: dict[int, Prepared] = {}
        names = {i: str(image) if isinstance(image, str | Path) else f"image {i}" for i, image in chunk}
        for i, image in chunk:
            try:
                prepared[i] = self.prepare(image)
            except MaxViTError as error:
                results[i] = self._prediction(names[i], (0, 0), None, str(error))
        readable = list(prepared)
        for batch in EvaluationBatches([one.shape for one in prepared.values()], self.batch_size):
            together = [readable[k] for k in batch]
            values = self.predict([prepared[i] for i in together])
            for i, value in zip(together, values, strict=True):
                results[i] = self._prediction(names[i], prepared[i].size, value)
        return [results[i] for i, _ in chunk]

    def _prediction(self, name: str, size: Size, value: Predicted, error: str | None = None) -> Prediction:
        return Prediction(name, size, value, error, task=self.task, class_names=self.class_names)

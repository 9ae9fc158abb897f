"""From images to named answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from maxvit.data import transforms
from maxvit.data.images import ImageLike
from maxvit.data.sampling import EvaluationBatches
from maxvit.errors import MaxViTError
from maxvit.inference.engines import open_engine
from maxvit.model import MaxViT


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


LOOK_AHEAD = 8  # batches of images, where they differ in size, of which those of one size are put together


def is_one(images: ImageLike | Iterable[ImageLike]) -> bool:
    """Whether it is an image, and not several."""
    return isinstance(images, str | Path | bytes | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4)


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of one image, or why it could not be read.

    Attributes:
        name: The path, or "image 3" for what has none.
        classes: (class name, probability), the most probable first; empty if the image could not be read.
        error: A sentence, or None.
        answered: Of a multi-label network: how many classes, the first ones, reach its threshold. None: one class of
            many is the answer, the first.
    """

    name: str
    classes: list[tuple[str, float]]
    error: str | None = None
    answered: int | None = None

    @property
    def sentence(self) -> str:
        """The answer in a line: of a multi-label network the classes that reach its threshold, else the most probable.

        "red 64.0%, blue 30.0%"; or where no class reaches the threshold "none (highest: red 4.0%)".
        """
        said = [f"{name} {p:.1%}" for name, p in self.classes]
        if self.answered == 0:
            return f"none (highest: {said[0]})"
        return ", ".join(said[: self.answered])


class Predictor:
    """Classify images with a checkpoint and nothing else: names and preprocessing come from the file.

    Args:
        model: A network, which is moved to `device`; or the path of a checkpoint, a run's folder or an exported
            file, see `open_engine`.
        top_k: How many classes to give for each image; a multi-label network also gives all that reach its threshold.
        batch_size: Images per forward.
        device: Where PyTorch computes; None: where the model is.
        engine: "auto": the file decides; or "torch" or "onnxruntime".
        precision: "auto": bf16 or fp16 on a GPU, fp32 elsewhere; or one of these. See `choose_precision`.

    Raises:
        MaxViTError: If the file cannot be read, or not by this engine, or the network has no classifier.
    """

    def __init__(
        self,
        model: MaxViT | str | Path,
        top_k: int = 5,
        batch_size: int = 32,
        device: torch.device | str | None = None,
        engine: str = "auto",
        precision: str = "auto",
    ) -> None:
        if top_k < 1 or batch_size < 1:
            raise MaxViTError(f"top_k is {top_k} and batch_size {batch_size}; both take whole numbers from 1 up")
        self.engine = open_engine(model, engine, device, precision=precision)
        num_classes = self.engine.config.num_classes
        if num_classes == 0:
            raise MaxViTError("the network has no classifier: give it one with reset_classifier, or load another file")
        self.top_k, self.batch_size = min(top_k, num_classes), batch_size
        self.class_names = self.engine.class_names or [f"class {i}" for i in range(num_classes)]

    def __call__(self, images: ImageLike | Iterable[ImageLike]) -> list[Prediction]:
        """Classify one image or several, in order. For one that cannot be read, `error` says why."""
        return list(self.stream([images] if is_one(images) else images))  # type: ignore[list-item, arg-type]

    def stream(self, images: Iterable[ImageLike]) -> Iterator[Prediction]:
        """The same, each answer as soon as its batch is done."""
        source = enumerate(images)
        ahead = LOOK_AHEAD if self.engine.preprocessing.fit == "aspect" else 1
        while chunk := list(islice(source, self.batch_size * ahead)):
            yield from self._predict(chunk)

    def _predict(self, chunk: list[tuple[int, ImageLike]]) -> list[Prediction]:
        results: dict[int, Prediction] = {}
        tensors: dict[int, Tensor] = {}
        names = {i: str(image) if isinstance(image, str | Path) else f"image {i}" for i, image in chunk}
        for i, image in chunk:
            try:
                tensors[i] = self.prepare(image)
            except MaxViTError as error:
                results[i] = Prediction(names[i], [], str(error))
        readable = list(tensors)
        for batch in EvaluationBatches([(t.shape[1], t.shape[2]) for t in tensors.values()], self.batch_size):
            together = [readable[k] for k in batch]
            for i, row in zip(together, self.probabilities(torch.stack([tensors[i] for i in together])), strict=True):
                results[i] = self.answer(names[i], row)
        return [results[i] for i, _ in chunk]

    def prepare(self, image: ImageLike) -> Tensor:
        """One image as the network takes it: (C, H, W) float32. Raises `MaxViTError` if it cannot be read."""
        return transforms.preprocess(self.engine.preprocessing, image)

    def probabilities(self, images: Tensor) -> Tensor:
        """Of each class: prepared images of one size (B, C, H, W) -> (B, classes)."""
        return self.engine.config.probabilities(self.engine(images))

    def answer(self, name: str, probabilities: Tensor, top_k: int | None = None) -> Prediction:
        """What is said of the image of that name, from its probabilities (classes)."""
        config = self.engine.config
        answered = len(config.answered(probabilities)) if config.multi_label else None
        best = probabilities.topk(min(max(top_k or self.top_k, answered or 0), len(self.class_names)))
        values, classes = best.values.tolist(), best.indices.tolist()
        pairs = [(self.class_names[c], p) for c, p in zip(classes, values, strict=True)]
        return Prediction(name, pairs, answered=answered)

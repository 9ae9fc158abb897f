"""Measure a classifier on labelled images."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt
import torch

from maxvit.data.labelled import LabelledImages
from maxvit.data.loading import evaluation_loader
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, TorchEngine
from maxvit.inference.progress import track
from maxvit.model import MaxViT


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a classifier answered on every image, and the figures that follow.

    Attributes:
        class_names: One per class.
        labels: (n,) int64, the true classes.
        probabilities: (n, classes) float32.
        indices: (n,) int64, of each image in the data set.
        skipped: A sentence for each image that could not be read, and does not count.
    """

    class_names: list[str]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    skipped: list[str]

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """(n,), the class with the highest probability."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float:
        """Share of images whose first answer is right, 0 to 1."""
        return float((self.predictions == self.labels).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy (Wilson)."""
        n, p, z = len(self.labels), self.accuracy, 1.959964
        centre, half = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
        return max(0.0, low), min(1.0, high)  # rounding can step outside

    def top_k_accuracy(self, k: int) -> float:
        """Share of images whose true class is among the k most probable."""
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return float((best == self.labels[:, None]).any(1).mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        own = self.probabilities[np.arange(len(self.labels)), self.labels]
        return float(-np.log(np.maximum(own, 1e-12)).mean())

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(true, predicted) counts."""
        k = len(self.class_names)
        return np.bincount(self.labels * k + self.predictions, minlength=k * k).reshape(k, k)

    def per_class(self) -> list[dict[str, float | str | int]]:
        """For each class: name, images, precision, recall and f1."""
        k, answers = len(self.class_names), self.predictions
        hits = np.bincount(self.labels[answers == self.labels], minlength=k)
        trues, saids = np.bincount(self.labels, minlength=k), np.bincount(answers, minlength=k)
        rows: list[dict[str, float | str | int]] = []
        for i, name in enumerate(self.class_names):
            hit, true, said = int(hits[i]), int(trues[i]), int(saids[i])
            precision, recall = hit / said if said else 0.0, hit / true if true else 0.0
            f1 = 2 * hit / (true + said) if true + said else 0.0
            rows.append({"name": name, "images": true, "precision": precision, "recall": recall, "f1": f1})
        return rows

    def mistakes(self) -> list[int]:
        """Rows of the wrong answers, the most confident first."""
        wrong = np.flatnonzero(self.predictions != self.labels)
        return [int(i) for i in wrong[np.argsort(-self.probabilities[wrong].max(1), kind="stable")]]


def evaluate(
    model: MaxViT | Engine, images: LabelledImages, batch_size: int = 64, workers: int = 0, show_progress: bool = False
) -> Evaluation:
    """Run the network over labelled images, preprocessed as its weights expect.

    Args:
        model: A classifier, which is left in the mode that it was in; or an engine, see `open_engine`.
        images: Of classes that the model has.
        batch_size: Images per forward.
        workers: Processes that decode.
        show_progress: Draw a bar on standard error.

    Raises:
        MaxViTError: If the classes are not the model's, or no image can be read.
    """
    engine = TorchEngine(model) if isinstance(model, MaxViT) else model
    if engine.config.num_classes != len(images.class_names):
        raise MaxViTError(
            f"the model has {engine.config.num_classes} classes and the data {len(images.class_names)}: "
            "evaluate on the classes that it was trained for"
        )
    if engine.class_names and engine.class_names != images.class_names:
        raise MaxViTError(
            f"the model's classes are {', '.join(engine.class_names[:5])}, ..., the data's "
            f"{', '.join(images.class_names[:5])}, ...: evaluate on the classes that it was trained for"
        )
    if not len(images):
        raise MaxViTError("there are no images to evaluate on")
    loader = evaluation_loader(images, engine.preprocessing, batch_size, workers)
    probabilities, labels, indices, skipped = [], [], [], []
    for batch in track(loader, "evaluating", show_progress):
        skipped += batch.skipped
        if len(batch.labels):
            probabilities.append(engine(batch.images).softmax(-1))
            labels.append(batch.labels)
            indices.append(batch.indices)
    if not labels:
        raise MaxViTError(f"none of the {len(images)} images can be read; the first: {skipped[0]}")
    order = torch.cat(indices).argsort()  # batches come by size, answers in the order of the images
    return Evaluation(
        images.class_names,
        torch.cat(labels)[order].numpy(),
        torch.cat(probabilities)[order].numpy(),
        torch.cat(indices)[order].numpy(),
        skipped,
    )

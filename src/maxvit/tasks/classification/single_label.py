"""What a classifier predicted for images of one class each, and the metrics that follow."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.tasks.bootstrap import bootstrap_intervals
from maxvit.tasks.classification import calibration
from maxvit.tasks.classification.recorded import Recorded, as_array
from maxvit.tasks.panels import Bin

CLASS_METRICS = ("balanced_accuracy", "f1_macro")  # means over the classes, however many images each has
Ints = npt.NDArray[np.int64]


class SingleLabelMetric(Recorded):
    """Keeps the probabilities of every image.

    Args:
        class_names: One per class.
        multi_label: Probabilities are of independent classes, and do not sum to 1.

    Attributes:
        probabilities: (n, classes) float32.
        labels: (n,) int64, the true classes; where an image has a share of each, that with the largest.
    """

    def __init__(self, class_names: Sequence[str], multi_label: bool = False) -> None:
        super().__init__(class_names, np.zeros(0, np.int64))
        self.multi_label = multi_label

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes), and a class () or shares of classes (classes)."""
        if len(predictions):
            self.merge((as_array(predictions), true_classes(targets)))

    def compute(self) -> dict[str, float]:
        """Accuracy, top-5 and balanced accuracy, macro F1, loss and calibration error; NaN without images."""
        if not len(self.labels):
            names = ("accuracy", "top_5_accuracy", *CLASS_METRICS, "loss", "calibration_error")
            return dict.fromkeys(names, float("nan"))
        return {
            "accuracy": self.accuracy,
            "top_5_accuracy": self.top_k_accuracy(5),
            **class_metrics(self.labels, self.predictions),
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals: Wilson's of shares of images, else by the bootstrap."""
        labels, predictions = self.labels, self.predictions
        return {
            "accuracy": self.interval,
            "top_5_accuracy": self.top_k_interval(5),
            **bootstrap_intervals(len(labels), lambda some: class_metrics(labels[some], predictions[some])),
            "calibration_error": self.calibration_interval(),
        }

    def rows(self) -> list[dict[str, float | str | int]]:
        """For each class: class, images, precision, recall and f1."""
        hits, trues, saids = class_counts(self.labels, self.predictions, len(self.class_names))
        rows: list[dict[str, float | str | int]] = []
        for i, name in enumerate(self.class_names):
            hit, true, said = int(hits[i]), int(trues[i]), int(saids[i])
            precision, recall = hit / said if said else 0.0, hit / true if true else 0.0
            f1 = 2 * hit / (true + said) if true + said else 0.0
            rows.append({"class": name, "images": true, "precision": precision, "recall": recall, "f1": f1})
        return rows

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """(n,), the class with the highest probability."""
        return self.probabilities.argmax(1)

    @property
    def confidences(self) -> npt.NDArray[np.float32]:
        """(n,), the highest probability."""
        return self.probabilities.max(1)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """(n,), whether the first class is the true class."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> float:
        """Share of images whose first class is right, 0 to 1."""
        return float(self.right.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the accuracy (Wilson)."""
        return wilson_interval(self.accuracy, len(self.labels))

    def top_k_accuracy(self, k: int) -> float:
        """Share of images whose true class is among the k most probable."""
        return float((self.best(k) == self.labels[:, None]).any(1).mean())

    def top_k_interval(self, k: int) -> tuple[float, float]:
        """95 % confidence interval of `top_k_accuracy` (Wilson)."""
        return wilson_interval(self.top_k_accuracy(k), len(self.labels))

    def best(self, k: int) -> npt.NDArray[np.int64]:
        """(n, k), the k most probable classes of each image, the most probable first; fewer if there are fewer."""
        return np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; with `multi_label` binary cross-entropy, summed over the classes."""
        rows = np.arange(len(self.labels))
        own = self.probabilities[rows, self.labels]
        losses = -np.log(np.maximum(own, 1e-12))
        if self.multi_label:
            no = -np.log(np.maximum(1 - self.probabilities.astype(np.float64), 1e-12))
            losses = losses + no.sum(1) - no[rows, self.labels]
        return float(losses.mean())

    @property
    def calibration_error(self) -> float:
        """Expected calibration error over 15 bins of equal width, 0 to 1; see `calibration.calibration_error`."""
        return calibration.calibration_error(self.confidences, self.right)

    def calibration_interval(self) -> tuple[float, float]:
        """95 % confidence interval of the calibration error (basic bootstrap); about a second for 50,000 images."""
        return calibration.calibration_interval(self.confidences, self.right)

    def calibration_bins(self) -> list[Bin]:
        """How often predictions of each confidence are right, for a reliability diagram."""
        return calibration.bins(self.confidences, self.right)

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(true, predicted) counts."""
        k = len(self.class_names)
        return np.bincount(self.labels * k + self.predictions, minlength=k * k).reshape(k, k)

    def mistakes(self) -> list[int]:
        """Rows of the wrong predictions, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-self.confidences[wrong], kind="stable")]]


class AccuracyMetric:
    """The accuracy alone, which needs no memory for predictions."""

    def __init__(self) -> None:
        self.right, self.images = 0, 0

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes), and a class () or shares of classes (classes)."""
        for prediction, target in zip(predictions, targets, strict=True):
            first = int(prediction.argmax())
            is_true = first == int(target) if target.ndim == 0 else bool(target[first] == target.max() > 0)
            self.right += int(is_true and bool(prediction[first] >= 0))  # NaN is not a prediction
            self.images += 1

    def state(self) -> tuple[Any, ...]:
        """Right ones, and all."""
        return self.right, self.images

    def merge(self, state: Any) -> None:
        """Count the images of another process."""
        self.right, self.images = self.right + state[0], self.images + state[1]

    def compute(self) -> dict[str, float]:
        """ "accuracy"; NaN without images."""
        return {"accuracy": self.right / self.images if self.images else float("nan")}

    def rows(self) -> list[dict[str, float | str | int]]:
        """Nothing is known of single classes."""
        return []


def class_counts(labels: Ints, predictions: Ints, classes: int = 0) -> tuple[Ints, Ints, Ints]:
    """For each class: images of it that are predicted right, images of it, images that are predicted as it.

    Args:
        labels: (n,), the true classes.
        predictions: (n,).
        classes: How many there are; 0: as many as occur.
    """
    k = max(classes, int(labels.max(initial=-1)) + 1, int(predictions.max(initial=-1)) + 1)
    hits = np.bincount(labels[labels == predictions], minlength=k)
    return hits, np.bincount(labels, minlength=k), np.bincount(predictions, minlength=k)


def class_metrics(labels: Ints, predictions: Ints) -> dict[str, float]:
    """The means over the classes that occur: of recall ("balanced_accuracy") and of F1 ("f1_macro").

    Args:
        labels: (n,), the true classes, at least one.
        predictions: (n,).
    """
    hits, trues, saids = class_counts(labels, predictions)
    there, either = trues > 0, trues + saids > 0
    recall, f1 = hits[there] / trues[there], 2 * hits[either] / (trues + saids)[either]
    return dict(zip(CLASS_METRICS, (float(recall.mean()), float(f1.mean())), strict=True))


def true_classes(targets: Sequence[Tensor]) -> npt.NDArray[np.int64]:
    """(n,): the classes, or those with the largest share."""
    stacked = torch.stack(list(targets)).cpu()
    return (stacked if stacked.ndim == 1 else stacked.float().argmax(1)).numpy()


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % confidence interval of a share of n images (Wilson, without continuity correction)."""
    z = 1.959964
    centre, half = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding can step outside

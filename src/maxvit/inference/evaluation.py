"""What a classifier answered on images of one class each, the figures that follow, and how several become one."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from maxvit.errors import MaxViTError
from maxvit.inference import calibration
from maxvit.inference.calibration import Bin
from maxvit.inference.multi_label import MultiLabelEvaluation


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a classifier answered on every image, and the figures that follow.

    Attributes:
        class_names: One per class.
        labels: (n,) int64, the true classes.
        probabilities: (n, classes) float32.
        indices: (n,) int64, of each image in the data set, rising.
        skipped: A sentence for each image that could not be read, and does not count.
        multi_label: Probabilities are those of a question for each class, and do not sum to 1.
    """

    class_names: list[str]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    indices: npt.NDArray[np.int64]
    skipped: list[str]
    multi_label: bool = False

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
        """(n,), whether the first answer is the true class."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> float:
        """Share of images whose first answer is right, 0 to 1."""
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
        """How often answers of each confidence are right, for a reliability diagram."""
        return calibration.bins(self.confidences, self.right)

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """(true, predicted) counts."""
        k = len(self.class_names)
        return np.bincount(self.labels * k + self.predictions, minlength=k * k).reshape(k, k)

    def per_class(self) -> list[dict[str, float | str | int]]:
        """For each class: name, images, precision, recall and f1."""
        k, answers = len(self.class_names), self.predictions
        hits = np.bincount(self.labels[self.right], minlength=k)
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
        wrong = np.flatnonzero(~self.right)
        return [int(i) for i in wrong[np.argsort(-self.confidences[wrong], kind="stable")]]

    def figures(self) -> dict[str, Any]:
        """The figures of all images together, as plain values for JSON."""
        return {
            "images": len(self.labels),
            "accuracy": self.accuracy,
            "interval_95": list(self.interval),
            "top_5_accuracy": self.top_k_accuracy(5),
            "top_5_interval_95": list(self.top_k_interval(5)),
            "loss": self.loss,
            "calibration_error": self.calibration_error,
            "calibration_interval_95": list(self.calibration_interval()),
            "skipped": len(self.skipped),
        }


def wilson_interval(share: float, n: int) -> tuple[float, float]:
    """95 % confidence interval of a share of n images (Wilson, without continuity correction)."""
    z = 1.959964
    centre, half = share + z * z / (2 * n), z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return max(0.0, low), min(1.0, high)  # rounding can step outside


Found = TypeVar("Found", bound=Evaluation | MultiLabelEvaluation)


def merge(parts: Sequence[Found]) -> Found:
    """Put together what several processes answered, each on its share of one data set; see `evaluate`.

    Args:
        parts: In any order; some may be empty.

    Returns:
        Every image once, in the order of the data set.

    Raises:
        MaxViTError: If there is no answer at all, two parts hold the same image, or their classes differ.
    """
    if not sum(len(part.indices) for part in parts):
        first = next((f"; the first: {part.skipped[0]}" for part in parts if part.skipped), "")
        raise MaxViTError(f"none of the {len(parts)} parts holds an answer: there is nothing to merge{first}")
    if other := [part for part in parts if part.class_names != parts[0].class_names]:
        given = [", ".join(part.class_names[:5]) for part in (parts[0], other[0])]
        raise MaxViTError(f"parts have other classes ({given[0]} and {given[1]}): merge those of one evaluation")
    indices = np.concatenate([part.indices for part in parts])
    order = indices.argsort(kind="stable")
    if len(twice := indices[order][1:][np.diff(indices[order]) == 0]):
        raise MaxViTError(f"image {twice[0]} is in two parts: give each image to one, with part=(rank, world)")
    whole: dict[str, Any] = {
        "labels": np.concatenate([part.labels for part in parts])[order],
        "probabilities": np.concatenate([part.probabilities for part in parts])[order],
        "indices": indices[order],
        "skipped": [sentence for part in parts for sentence in part.skipped],
    }
    return dataclasses.replace(parts[0], **whole)


def average(answers: Sequence[Found]) -> Found:
    """The answer of several together, such as of one network at several sizes: the mean of their probabilities.

    Raises:
        MaxViTError: If they did not answer for the same images.
    """
    first = answers[0]
    for other in answers[1:]:
        if not (np.array_equal(other.indices, first.indices) and np.array_equal(other.labels, first.labels)):
            raise MaxViTError("the answers are for different images, and have no average: evaluate on the same ones")
    total = np.zeros(first.probabilities.shape)
    for answer in answers:
        total += answer.probabilities
    return dataclasses.replace(first, probabilities=(total / len(answers)).astype(np.float32))

"""What a classifier predicted for images of one class each, and the metrics that follow."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from maxvit.tasks.bootstrap import bootstrap_intervals
from maxvit.tasks.classification import calibration
from maxvit.tasks.classification.auc import AUC, Areas, areas, one_of_many
from maxvit.tasks.classification.recorded import Recorded, as_array
from maxvit.tasks.classification.wilson import wilson_interval
from maxvit.tasks.panels import Bin

TOP_5 = "top_5_accuracy"
CLASS_METRICS = ("balanced_accuracy", "f1_macro")  # means over the classes, however many images each has
MANY = 10  # classes: with fewer, five of them are nearly all
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
        self._areas: tuple[int, Areas] | None = None  # of so many images

    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Count images: probabilities (classes), and a class () or shares of classes (classes)."""
        if len(predictions):
            self.merge((as_array(predictions), true_classes(targets)))

    def compute(self) -> dict[str, float]:
        """Metrics of all images; NaN without images.

        Returns:
            accuracy: Share of images whose first class is right.
            top_5_accuracy: That of images whose class is among the first five; where there are 10 classes or more.
            balanced_accuracy, f1_macro: Means over the classes that occur.
            auc: Mean of the areas under the ROC curves of each class against the rest.
            loss: See the attribute.
            calibration_error: As there.
        """
        if not len(self.labels):
            names = ("accuracy", *self._top_5, *CLASS_METRICS, AUC, "loss", "calibration_error")
            return dict.fromkeys(names, float("nan"))
        return {
            "accuracy": self.accuracy,
            **{name: self.top_k_accuracy(5) for name in self._top_5},
            **class_metrics(*class_counts(self.labels, self.predictions)),
            AUC: self.areas.mean,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        }

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % confidence intervals: Wilson's of shares of images, DeLong's of the areas, else by the bootstrap."""
        labels, predictions = self.labels, self.predictions
        images = len(labels)
        return {
            "accuracy": self.interval,
            **{name: self.top_k_interval(5) for name in self._top_5},
            **bootstrap_intervals(images, lambda some: class_metrics(*class_counts(labels[some], predictions[some]))),
            AUC: self.areas.interval,
            "calibration_error": self.calibration_interval(),
        }

    @property
    def _top_5(self) -> tuple[str, ...]:
        return (TOP_5,) if len(self.class_names) >= MANY else ()

    @property
    def areas(self) -> Areas:
        """The area under the ROC curve of each class against the rest."""
        if self._areas is None or self._areas[0] != len(self.labels):
            truth = one_of_many(self.labels, len(self.class_names))
            self._areas = len(self.labels), areas(self.probabilities, truth)
        return self._areas[1]

    def rows(self) -> list[dict[str, float | str | int]]:
        """For each class: class, images, precision, recall, f1 and auc."""
        hits, trues, saids = class_counts(self.labels, self.predictions, len(self.class_names))
        rows: list[dict[str, float | str | int]] = []
        of_classes = self.areas.of_classes.tolist()
        for i, name in enumerate(self.class_names):
            hit, true, said = int(hits[i]), int(trues[i]), int(saids[i])
            precision, recall = hit / said if said else 0.0, hit / true if true else 0.0
            f1 = 2 * hit / (true + said) if true + said else 0.0
            measured = {"precision": precision, "recall": recall, "f1": f1, AUC: of_classes[i]}
            rows.append({"class": name, "images": true, **measured})
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
        labels = self.labels[:, None]
        own = np.take_along_axis(self.probabilities, labels, 1)
        ahead = (self.probabilities > own).sum(1)
        ahead += ((self.probabilities == own) & (np.arange(len(self.class_names)) < labels)).sum(1)  # the first is said
        return float(((ahead < k) & ~np.isnan(own[:, 0])).mean())

    def top_k_interval(self, k: int) -> tuple[float, float]:
        """95 % confidence interval of `top_k_accuracy` (Wilson)."""
        return wilson_interval(self.top_k_accuracy(k), len(self.labels))

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


def class_metrics(hits: Ints, trues: Ints, saids: Ints) -> dict[str, float]:
    """The means over the classes that occur: of recall ("balanced_accuracy") and of F1 ("f1_macro").

    Args:
        hits: (classes,), and so on as `class_counts` gives them, of at least one image.
        trues: Images of each.
        saids: Images that are predicted as it.
    """
    there, either = trues > 0, trues + saids > 0
    recall, f1 = hits[there] / trues[there], 2 * hits[either] / (trues + saids)[either]
    return dict(zip(CLASS_METRICS, (float(recall.mean()), float(f1.mean())), strict=True))


def true_classes(targets: Sequence[Tensor]) -> npt.NDArray[np.int64]:
    """(n,): the classes, or those with the largest share."""
    stacked = torch.stack(list(targets)).cpu()
    return (stacked if stacked.ndim == 1 else stacked.float().argmax(1)).numpy()

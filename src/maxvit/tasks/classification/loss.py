"""The loss of a classifier, and its accuracy."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.layers.exact import widest

Loss = Literal["softmax", "sigmoid"]


class ClassificationLosses(nn.Module):
    """From images and targets to a classifier's loss and accuracy.

    Args:
        network: Anything from images (B, C, H, W) to logits (B, classes).
        label_smoothing: Share of each target that is spread over all classes, while training.
        loss: "softmax": cross-entropy; "sigmoid": binary cross-entropy, summed over the classes, which are independent
            (several labels, ImageNet-21K).
        class_weights: (classes,), of the images of each class in the training loss; None: all alike.
        several: Images have any number of labels each, so that no first class is right or wrong: the loss is all.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        label_smoothing: float = 0.0,
        loss: Loss = "softmax",
        class_weights: Tensor | None = None,
        several: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.several = network, several
        self.label_smoothing, self.loss = label_smoothing, loss
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss (smoothed and weighted while training, plain in evaluation) and accuracy, both means over the images.

        Args:
            images: (B, C, H, W).
            labels: (B,) int64; or (B, classes), floating point or bool: a share, or 0 and 1 for each class.

        Returns:
            "loss" and, unless `several`, "accuracy", scalars. The largest share is right.
        """
        return self.of_logits(self.network(images), labels)

    def of_logits(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The same from what the network gives, (B, classes)."""
        labels = labels.to(logits.dtype) if labels.dtype == torch.bool else labels
        smoothing, weights = (self.label_smoothing, self.class_weights) if self.training else (0.0, None)
        if self.loss == "softmax":
            losses = F.cross_entropy(logits, labels, weights, label_smoothing=smoothing, reduction="none")
        else:
            targets = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1])
            exact = torch.promote_types(logits.dtype, torch.float32)  # smoothing by 1e-4 is lost in 16 bits
            targets = targets.to(exact) * (1 - smoothing) + smoothing / logits.shape[1]
            losses = F.binary_cross_entropy_with_logits(logits.to(exact), targets, reduction="none").sum(1)
            if weights is not None:  # mixed labels have a share of each
                losses = losses * (weights[labels] if labels.ndim == 1 else labels.to(exact) @ weights.to(exact))
        scores = {"loss": losses.mean()}
        return scores if self.several else {**scores, "accuracy": widest(_is_right(logits, labels)).mean()}


def _is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) bool."""
    predicted = logits.argmax(1)
    if labels.ndim == 1:
        return predicted == labels
    shares = labels.gather(1, predicted[:, None])[:, 0]
    return (shares > 0) & (shares == labels.amax(1))


def balanced_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Weights (classes,) float32 that make each class count alike, with a mean of 1 over the images.

    Args:
        labels: (n,) int64.
        num_classes: How many classes there are; one without an image gets 0.
    """
    counts = torch.bincount(labels, minlength=num_classes)
    present = int((counts > 0).sum())
    return torch.where(counts > 0, len(labels) / (present * counts.clamp(min=1)), 0.0).float()

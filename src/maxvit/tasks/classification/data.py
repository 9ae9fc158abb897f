"""The labels of images to classify, as a loss wants them."""

import numpy as np
import torch

from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.tasks.classification.loss import Loss


def are_several(images: LabelledImages) -> bool:
    """Whether images have any number of classes each."""
    return np.asarray(images.labels[:1]).dtype == bool


def check_labels(images: LabelledImages, loss: Loss) -> None:
    """Refuse, by `MaxViTError`, labels that do not fit the loss."""
    labels = np.asarray(images.labels)
    classes = len(images.class_names)
    if labels.ndim != 1 and labels.shape[1:] != (classes,):
        raise MaxViTError(f"labels have shape {labels.shape}: give one number an image, or (images, {classes}) shares")
    if labels.ndim == 1 or (labels.dtype == bool and loss == "sigmoid"):
        return
    if len(wrong := np.flatnonzero(~(abs(labels.sum(1) - 1) <= 1e-3))):  # NaN is wrong too
        if labels.dtype == bool:
            raise MaxViTError(
                f"the labels of {images.names[wrong[0]]} sum to {labels[wrong[0]].sum():g}, and an image has "
                "exactly one class here: for any number of classes in an image train with task.loss=sigmoid"
            )
        raise MaxViTError(
            f"the labels of {images.names[wrong[0]]} sum to {labels[wrong[0]].sum():g}, and shares of classes sum to "
            "1: for any number of classes in an image use labels of type bool, and a network trained with "
            "task.loss=sigmoid"
        )


def as_target(label: object, loss: Loss) -> torch.Tensor:
    """A class () int64; shares (classes) float32; or which there are (classes) bool, where the loss is sigmoid."""
    target = torch.as_tensor(np.asarray(label))
    return target.float() if target.dtype == torch.bool and loss == "softmax" else target

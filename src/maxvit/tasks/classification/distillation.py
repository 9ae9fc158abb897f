"""Distillation: a network learns the answers of a larger one to the images that it sees itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit.config import Preprocessing
from maxvit.data.transforms import target_size
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.classification.loss import ClassificationLosses, Loss


class Teacher:
    """A network that answers for another. It is not a module, so that the one that learns does not hold its weights.

    Args:
        network: It is put into evaluation mode, and learns nothing.
        student: What learns. It says how images are normalised, and which class comes where.

    Raises:
        MaxViTError: If the two tell other classes apart, or mean something else by their logits.
    """

    def __init__(self, network: MaxViT, student: MaxViT) -> None:
        theirs, ours = list(network.class_names or ()), list(student.class_names or ())
        if not theirs:
            raise MaxViTError(
                "the teacher does not name its classes, and they are matched by name: set its class_names, and save it"
            )
        if sorted(theirs) != sorted(ours):
            raise MaxViTError(f"the teacher has other classes than the data: {_difference(theirs, ours)}")
        if network.config.multi_label != student.config.multi_label:
            loss = "sigmoid" if network.config.multi_label else "softmax"
            raise MaxViTError(f"the teacher was trained with task.loss={loss}: use that, or another teacher")
        channels = network.preprocessing.channels, student.preprocessing.channels
        if channels[0] != channels[1]:
            raise MaxViTError(f"the teacher takes {channels[0]} channels, and here are {channels[1]}: use another")
        ranges = network.preprocessing.value_range, student.preprocessing.value_range
        if None not in ranges and ranges[0] != ranges[1]:
            raise MaxViTError(
                f"black and white are {ranges[0]} for the teacher, and {ranges[1]} here: set data.value_range to those"
            )
        self.network = network.eval()
        self._seen, self._order = student.preprocessing, [theirs.index(name) for name in ours]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """What the teacher says, as logits at its own temperature, with the classes in the student's order.

        Args:
            images: (B, C, H, W), normalised for the student, on the teacher's device.

        Returns:
            (B, classes) float32.
        """
        weight = next(self.network.parameters())
        images = converted(images.to(weight.dtype), self._seen, self.network.preprocessing)
        logits: Tensor = self.network(images)
        return logits.float()[:, self._order] / self.network.config.temperature


def converted(images: Tensor, seen: Preprocessing, wanted: Preprocessing) -> Tensor:
    """Images that are prepared for one network, as another wants them: its size, its channels, its normalisation.

    Args:
        images: (B, C, H, W), floating point.
        seen: How they are normalised.
        wanted: How they are to be, and of which size.
    """
    size = target_size(wanted, (images.shape[2], images.shape[3]))
    if tuple(images.shape[-2:]) == size and (seen.mean, seen.std) == (wanted.mean, wanted.std):
        return images
    pixels = images * _column(seen.std, images) + _column(seen.mean, images)
    if tuple(images.shape[-2:]) != size:
        pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True).clamp(0, 1)
    if len(wanted.mean) == 1:
        pixels = pixels.mean(1, keepdim=True)
    return (pixels - _column(wanted.mean, images)) / _column(wanted.std, images)


def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
    """(C, 1, 1)."""
    return like.new_tensor(values)[:, None, None]


def _difference(theirs: list[str], ours: list[str]) -> str:
    """What only one of two lists of classes has, or how often, in words."""
    only = [sorted(set(a) - set(b)) for a, b in ((theirs, ours), (ours, theirs))]
    said = [f"{', '.join(names[:3])} ({len(names)})" for names in only]
    parts = [
        f"only the {who} has {words}"
        for who, names, words in zip(("teacher", "data"), only, said, strict=True)
        if names
    ]
    return "; ".join(parts) or "some names occur more than once"


def distillation_loss(logits: Tensor, answers: Tensor, loss: Loss, temperature: float) -> Tensor:
    """How far a network is from its teacher's answers, the mean over the images.

    Args:
        logits: (B, classes), of the network that learns.
        answers: (B, classes), the logits of the teacher.
        loss: "softmax": the Kullback-Leibler divergence of the probabilities, both softened, times temperature ** 2;
            "sigmoid": binary cross-entropy with the teacher's probabilities, summed over the classes.
        temperature: What both logits are divided by, with "softmax".

    Reference:
        Hinton et al., Distilling the Knowledge in a Neural Network (2015), section 2. The square keeps the size of the
        gradient, whatever the temperature.
    """
    exact = torch.promote_types(logits.dtype, torch.float32)
    logits, answers = logits.to(exact), answers.to(exact)
    if loss == "sigmoid":
        return F.binary_cross_entropy_with_logits(logits, answers.sigmoid(), reduction="none").sum(1).mean()
    student, teacher = ((z / temperature).log_softmax(1) for z in (logits, answers))
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2


class Distillation(nn.Module):
    """The losses of a classifier in training, and its distance to a teacher.

    Args:
        losses: Those of the network that learns.
        teacher: From images to logits.
        weight: Share of the distance in the loss; the labels have the rest.
        temperature: As for `distillation_loss`.
    """

    def __init__(self, losses: ClassificationLosses, teacher: Teacher, weight: float, temperature: float) -> None:
        super().__init__()
        self.losses, self.teacher, self.weight, self.temperature = losses, teacher, weight, temperature

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """As `ClassificationLosses`; "loss" is the weighted mean of its own and the distance."""
        logits = self.losses.network(images)
        scores = self.losses.of_logits(logits, labels)
        distance = distillation_loss(logits, self.teacher(images), self.losses.loss, self.temperature)
        return {**scores, "loss": (1 - self.weight) * scores["loss"] + self.weight * distance}

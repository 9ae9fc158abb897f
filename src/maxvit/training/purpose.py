"""What a run is for: to classify, or another task. The loop, the learner and the files of a run know no more of it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from maxvit.config import Preprocessing
from maxvit.data.annotated import AnnotatedImages, AnnotatedSplits
from maxvit.data.dataset import LabelledImages, Splits, are_several
from maxvit.data.examples import Examples, LabelledExamples
from maxvit.data.loading import Batch
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks import CLASSIFICATION, make_task
from maxvit.tasks.classification import Classification
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.multi_label import MEAN_AP, MultiLabelMetric
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import Metric, Task
from maxvit.training.recipe import Recipe
from maxvit.training.setup import (
    check_fit,
    class_weights,
    load_annotated,
    load_data,
    make_network,
    make_task_network,
)

Network = MaxViT | TaskNetwork
Judge = Callable[[Tensor, Any], tuple[dict[str, Tensor], Any]]


class Purpose(Protocol):
    """What differs from task to task.

    Attributes:
        scores: What the objective gives in training, means over images; "loss" is the first.
        val_scores: The same of the judge.
        monitor: The figure of the validation that chooses the best epoch; the highest is the best.
    """

    scores: tuple[str, ...]
    val_scores: tuple[str, ...]
    monitor: str

    def load(self) -> Splits | AnnotatedSplits:
        """The images. Raises `MaxViTError` if they cannot be used."""
        ...

    def make_network(self, class_names: Sequence[str]) -> Network:
        """A network for these classes, in training mode, the same for the same seed."""
        ...

    def examples(self, images: Any, spec: Preprocessing, training: bool) -> Examples:
        """Images as the network takes them."""
        ...

    def objective(self, network: Any, images: Any) -> nn.Module:
        """From (images, targets) to the scores, in training mode; `images` are those that it learns from."""
        ...

    def judge(self, network: Any) -> Judge:
        """From (images, targets) to scores and to answers for the metric, in evaluation mode."""
        ...

    def metric(self, class_names: Sequence[str]) -> Metric | None:
        """Of answers; None: the scores say all."""
        ...

    def targets(self, labels: Any) -> Sequence[Any]:
        """What the metric compares the answers for a validation batch with."""
        ...

    def settle(self, network: Any, val: Mapping[str, float]) -> None:
        """Give the network what its validation has found, before it is saved."""
        ...

    def nothing(self, network: Any, batch: Batch) -> Batch:
        """What stands in for a first batch of which no image can be read: the run ends."""
        ...


def purpose_of(recipe: Recipe) -> Purpose:
    """What a recipe is for. Raises `MaxViTError` if its settings exclude one another."""
    return Classifying(recipe) if recipe.task["name"] == CLASSIFICATION else Tasking(recipe)


def monitor(recipe: Recipe, rows: Sequence[Mapping[str, float]]) -> str:
    """The figure that chooses the best epoch of a run; its metrics alone tell whether images have several labels."""
    several = recipe.task["name"] == CLASSIFICATION and rows and f"val_{MEAN_AP}" in rows[0]
    return MEAN_AP if several else purpose_of(recipe).monitor


class Classifying:
    """Learn classes; see `Purpose`. Once the images are loaded it is known whether they have several labels each."""

    scores: tuple[str, ...] = ("loss", "accuracy")
    val_scores: tuple[str, ...] = ("loss", "accuracy")
    monitor = "accuracy"

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.several = recipe, False

    def load(self) -> Splits:
        """See `Purpose`."""
        data = load_data(self.recipe)
        check_fit(self.recipe, data.train)
        self.several = self.recipe.optimization.loss == "sigmoid" and are_several(data.train.labels)
        if self.several:
            self.scores, self.val_scores, self.monitor = ("loss",), ("loss",), MEAN_AP
        return data

    def make_network(self, class_names: Sequence[str]) -> MaxViT:
        """See `Purpose`."""
        return make_network(self.recipe, class_names)

    def examples(self, images: LabelledImages, spec: Preprocessing, training: bool) -> LabelledExamples:
        """See `Purpose`."""
        data = self.recipe.data
        return LabelledExamples(images, spec, data.augmentation if training else None, data.rand_augment)

    def objective(self, network: MaxViT, images: LabelledImages) -> Classification:
        """See `Purpose`."""
        settings, weights = self.recipe.optimization, class_weights(self.recipe, images)
        weights = None if weights is None else weights.to(next(network.parameters()))
        return Classification(network, settings.label_smoothing, settings.loss, weights, self.several)

    def judge(self, network: MaxViT) -> Judge:
        """See `Purpose`."""
        return _Judged(Classification(network, loss=self.recipe.optimization.loss, several=self.several).eval())

    def metric(self, class_names: Sequence[str]) -> Metric | None:
        """Of several labels; of one the scores say all."""
        return MultiLabelMetric(class_names) if self.several else None

    def targets(self, labels: Tensor) -> Sequence[Tensor]:
        """See `Purpose`."""
        return list(labels)

    def settle(self, network: MaxViT, val: Mapping[str, float]) -> None:
        """The threshold that is best for F1."""
        if self.several:
            network.config = dataclasses.replace(network.config, threshold=val["threshold"])

    def nothing(self, network: MaxViT, batch: Batch) -> Batch:
        """See `Purpose`."""
        config = network.config
        images = torch.zeros(2, config.in_channels, *config.image_size)
        return Batch(images, torch.zeros(2, dtype=torch.int64), torch.empty(0, dtype=torch.int64), [], 0.0)


class _Judged:
    """Scores of a classifier, and the probabilities that it answers."""

    def __init__(self, module: Classification) -> None:
        self.module = module

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        logits = self.module.network(images)
        return self.module.judge(logits, labels), self.module.network.config.probabilities(logits.float())


class Tasking:
    """Learn another task; see `Purpose`."""

    scores: tuple[str, ...] = ("loss",)

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.task = recipe, make_task(recipe.task)
        self.val_scores, self.monitor = self.task.val_losses, self.task.monitor

    def load(self) -> AnnotatedSplits:
        """See `Purpose`."""
        return load_annotated(self.recipe, self.task)

    def make_network(self, class_names: Sequence[str]) -> TaskNetwork:
        """See `Purpose`."""
        return make_task_network(self.recipe, self.task, class_names)

    def examples(self, images: AnnotatedImages, spec: Preprocessing, training: bool) -> TaskExamples:
        """See `Purpose`."""
        return TaskExamples(self.task, images, spec)

    def objective(self, network: TaskNetwork, images: AnnotatedImages) -> nn.Module:
        """See `Purpose`."""
        return _Losses(self.task, network)

    def judge(self, network: TaskNetwork) -> Judge:
        """See `Purpose`."""
        return _Answers(self.task, network)

    def metric(self, class_names: Sequence[str]) -> Metric:
        """See `Purpose`."""
        return self.task.metric(class_names)

    def targets(self, labels: Any) -> Sequence[Any]:
        """See `Purpose`."""
        return [truth for _, truth in labels]

    def settle(self, network: TaskNetwork, val: Mapping[str, float]) -> None:
        """Nothing is found."""

    def nothing(self, network: TaskNetwork, batch: Batch) -> Batch:
        """There is nothing: a blank image has no truth."""
        raise MaxViTError(f"all images of the first batch cannot be used: {batch.skipped[0]}")


class _Losses(nn.Module):
    """A task's losses as a module that an engine can wrap."""

    def __init__(self, task: Task, network: TaskNetwork) -> None:
        super().__init__()
        self.task, self.network = task, network

    def forward(self, images: Tensor, targets: Any) -> dict[str, Tensor]:
        return self.task.losses(self.network, images, targets)


class _Answers:
    """What a task's network answers in validation."""

    def __init__(self, task: Task, network: TaskNetwork) -> None:
        self.task, self.network = task, network

    def __call__(self, images: Tensor, targets: Any) -> tuple[dict[str, Tensor], Any]:
        sizes, targets = [size for size, _ in targets], [truth for _, truth in targets]
        return self.task.judge(self.network, images, sizes, targets)

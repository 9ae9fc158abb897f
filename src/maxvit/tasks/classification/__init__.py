"""Image classification: one class of many, or any number of them (multi-label)."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from maxvit.config import Fit, MaxViTConfig, Preprocessing, Size, class_probabilities
from maxvit.data.builtin import is_builtin, load_builtin, load_builtin_eval, read_builtin_parts
from maxvit.data.dataset import LabelledImages, Splits, in_classes
from maxvit.data.folder import find_parts
from maxvit.data.images import ImageLike, Source
from maxvit.data.load import kind_of, load_eval, load_images, read_parts
from maxvit.data.transforms import normalise, preprocess, target_size
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.classification.counted import CountedMetric
from maxvit.tasks.classification.data import are_several, as_target, check_labels
from maxvit.tasks.classification.distillation import Distillation, Teacher
from maxvit.tasks.classification.loss import ClassificationLosses, balanced_weights
from maxvit.tasks.classification.metric import SHARES, EitherMetric
from maxvit.tasks.classification.multi_label import MultiLabelMetric
from maxvit.tasks.classification.novelty import fit_novelty
from maxvit.tasks.classification.panels import multi_label_panels, refused_images, single_label_panels
from maxvit.tasks.classification.predictions import (
    Best,
    best_classes,
    compared_with_class,
    compared_with_classes,
    judged,
    novelty_of,
)
from maxvit.tasks.classification.probe import fit_classifier
from maxvit.tasks.classification.settings import Augmentation, ClassificationSettings, SetThresholds
from maxvit.tasks.classification.single_label import SingleLabelMetric
from maxvit.tasks.classification.temperature import SMALLEST, CalibratedMetric
from maxvit.tasks.network import Network
from maxvit.tasks.panels import Panels
from maxvit.tasks.protocols import Baseline, Cell, Changed, Distil, ExportSpec, Forward, Probe
from maxvit.tasks.task import Task, TaskSettings

SETTLED = ("threshold", "temperature")  # by validation
BELOW_1 = 1 - 2**-24  # the largest float32 below 1


class Classification(Task):
    """The classes of an image. The network is a `MaxViT`; a prediction is its probabilities (classes,) float32.

    They have the attribute `novelty` where the network has a score for images of none of the classes.

    A target is a class () int64; shares of classes (classes,) float32; or, with the sigmoid loss, which classes there
    are, (classes,) bool.
    """

    name = "classification"
    Settings: ClassVar[type[TaskSettings]] = ClassificationSettings
    recipe = "folder"
    batch_size = 32
    fits: ClassVar[tuple[Fit, ...] | None] = None
    in_percent: ClassVar[frozenset[str]] = SHARES
    lower_is_better: ClassVar[frozenset[str]] = frozenset(("loss", "calibration_error"))
    after_export = ("top_k", "threshold", "coverage")
    usual_classes = 1000
    reads_lists = True
    not_counted = ""
    settings: ClassificationSettings

    @classmethod
    def for_config(cls, config: MaxViTConfig) -> Self:
        """The task of a network, by what its configuration says of its outputs."""
        if config.multi_label:
            return cls(ClassificationSettings(loss="sigmoid", threshold=config.threshold))
        found = SetThresholds(temperature=config.temperature, thresholds=config.set_thresholds)
        return cls(ClassificationSettings(temperature=config.temperature, set_thresholds=found))

    @property
    def multi_label(self) -> bool:
        """Whether classes are independent."""
        return self.settings.loss == "sigmoid"

    @property
    def temperature(self) -> float:
        """What divides the logits of one class of many."""
        return self.settings.temperature or 1.0

    def load(self, path: str, val_fraction: float, seed: int) -> Splits:
        """A folder of class folders, a list, shards, the digits, or formulas."""
        if is_builtin(path):
            self.columns.refuse(f"{path} is not a list, whose columns could be named")
            return load_builtin(path, val_fraction)
        return load_images(path, val_fraction, seed, self.columns)

    def load_eval(self, path: str, class_names: Sequence[str] | None) -> LabelledImages:
        """The test part, else the validation part, else all."""
        names = None if class_names is None else list(class_names)
        if is_builtin(path):
            return in_classes(load_builtin_eval(path), names, path)
        return load_eval(path, names, self.columns)

    def parts(self, path: str) -> dict[str, LabelledImages]:
        """Those of a folder, a list or shards; of what needs no files, those that `load` has."""
        return read_builtin_parts(path) if is_builtin(path) else read_parts(path, self.columns)

    def one_class(self, images: LabelledImages) -> Sequence[int] | None:
        """There is none where an image has several classes, or shares of them."""
        return None if isinstance(images.labels, np.ndarray) else images.labels

    def reads(self, data: Path, folder: Path) -> bool:
        """Each folder of images is a class."""
        return kind_of(data) == "files" and folder.is_relative_to(find_parts(data).get("train", data).resolve())

    def check(self, images: LabelledImages) -> None:
        """Refuse several classes for an image where the loss takes one."""
        check_labels(images, self.settings.loss)

    def augment(self, spec: Preprocessing, source: Source, label: Any) -> tuple[Tensor, Tensor]:
        """A piece of the image, changed as `augmentation` says, and its target."""
        settings = self.settings
        change = _transform(spec.image_size, settings.augmentation, settings.rand_augment, settings.crop_area, spec)
        return normalise(spec, change(source).permute(1, 2, 0).numpy()), as_target(label, settings.loss)

    def for_photographs(self) -> str:
        """RandAugment without its geometry."""
        used = self.settings.augmentation == "photos" and self.settings.rand_augment[0]
        return "RandAugment's operations on colours" if used else ""

    def augmented_size(self, spec: Preprocessing, size: Size) -> Size:
        """The size of evaluation."""
        return target_size(spec, size)

    def mix(self, images: Tensor, targets: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
        """MixUp."""
        if not self.settings.mixup:
            return images, targets
        from torchvision.transforms.v2 import MixUp

        targets = targets.to(images.dtype) if targets.dtype == torch.bool else targets
        mixed: tuple[Tensor, Tensor] = MixUp(alpha=self.settings.mixup, num_classes=num_classes)(images, targets)
        return mixed

    def prepare(self, spec: Preprocessing, image: ImageLike) -> Tensor:
        """The centre of the image, as its weights expect."""
        return preprocess(spec, image)

    def target(self, label: Any, size: Size) -> Tensor:
        """Whatever the size."""
        return as_target(label, self.settings.loss)

    def names(self, class_names: Sequence[str] | None, config: MaxViTConfig) -> list[str]:
        """Where they are not known, numbers."""
        if config.num_classes == 0:
            raise MaxViTError(
                "the network has no classifier: train it, give it one with reset_classifier, or load another file"
            )
        return list(class_names or [f"class {i}" for i in range(config.num_classes)])

    def image_classes(self, class_names: Sequence[str] | None, config: MaxViTConfig) -> list[str]:
        """All of them."""
        return self.names(class_names, config)

    def make_network(self, backbone: MaxViT, class_names: Sequence[str], new_head: bool = False) -> MaxViT:
        """The network itself, with a new classifier unless it has one for these classes."""
        if new_head or backbone.class_names != list(class_names):  # also for as many classes, but others
            backbone.reset_classifier(
                len(class_names), class_names=class_names, inner_fields=self.settings.inner_fields
            )
        backbone.config, backbone.novelty = backbone.config.for_classes(len(class_names), self.multi_label), None
        return backbone

    def objective(self, network: nn.Module, images: LabelledImages) -> ClassificationLosses:
        """With the weights of the classes, and the accuracy where an image has one class."""
        settings, weights = self.settings, None
        if settings.class_weights == "balanced":
            labels = torch.as_tensor(np.asarray(images.labels))
            if labels.ndim == 2:
                raise MaxViTError("task.class_weights is balanced, which takes images with one class each: use equal")
            weights = balanced_weights(labels, len(images.class_names)).to(next(network.parameters()))
        several = self.multi_label and are_several(images)
        return ClassificationLosses(network, settings.label_smoothing, settings.loss, weights, several)

    def distil(self, teacher: Network, student: Network) -> Distil:
        """By the answers to the images of training, as they are augmented and mixed."""
        if not isinstance(teacher, MaxViT):
            raise MaxViTError(
                f"the teacher is for {teacher.settings.name}, and the task here is {self.name}: give a classifier"
            )
        assert isinstance(student, MaxViT)
        settings, answers = self.settings, Teacher(teacher, student)
        weight, temperature = settings.distillation_weight, settings.distillation_temperature
        return lambda objective: Distillation(cast(ClassificationLosses, objective), answers, weight, temperature)

    def losses(self, network: nn.Module, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Loss and accuracy, all classes alike."""
        return ClassificationLosses(network, self.settings.label_smoothing, self.settings.loss)(images, targets)

    def predict(self, network: Forward, images: Tensor, sizes: Sequence[Size]) -> list[Tensor]:
        """The probabilities."""
        logits, novelty = _parts(network(images))
        return judged(self.probabilities(logits.float()), novelty)

    def evaluate(
        self, network: Forward, images: Tensor, sizes: Sequence[Size], targets: Sequence[Tensor]
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The loss, without smoothing and weights, and the probabilities."""
        (logits, novelty), labels = _parts(network(images)), self.collate(targets)
        loss = ClassificationLosses(network, loss=self.settings.loss).eval().of_logits(logits, labels.to(logits.device))
        return {"loss": loss["loss"]}, judged(self.probabilities(logits.detach().float()), novelty)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probability of each class, (B, classes)."""
        return class_probabilities(logits, self.multi_label, self.temperature)

    def logits(self, probabilities: Tensor) -> Tensor:
        """What `probabilities` makes these of, finite."""
        if self.multi_label:
            return probabilities.clamp(SMALLEST, BELOW_1).logit()
        return probabilities.clamp(min=SMALLEST).log() * self.temperature

    def export_spec(self, network: nn.Module, from_pixels: bool = False) -> ExportSpec:
        """From images to logits (B, classes), or without a classifier to features; from pixels to probabilities.

        With them goes the novelty (B,), where the network has a score for it.
        """
        config = cast(MaxViT, network).config
        if not config.pool:
            raise MaxViTError("the network has no pool, and its files hold one: choose one with set_pool('avg')")
        if from_pixels and not config.num_classes:
            raise MaxViTError("the network has no classifier, and pixels become probabilities of classes")
        if not from_pixels and not config.novelty_centres:
            return ExportSpec(network, ("logits",))
        names = ("probabilities" if from_pixels else "logits", "novelty")[: 2 if config.novelty_centres else 1]
        return ExportSpec(_Exported(network, self.probabilities if from_pixels else None), names)

    def from_export(self, outputs: Sequence[Tensor], from_pixels: bool) -> Any:
        """Logits; a file that takes pixels gives probabilities. With novelty, where it is there."""
        logits = self.logits(outputs[0]) if from_pixels else outputs[0]
        return logits if len(outputs) == 1 else (logits, outputs[1])

    def with_mirror(self, network: Forward) -> Forward:
        """The mean of both probabilities; novelty is that of the image itself."""

        def both(images: Tensor) -> Any:
            logits, novelty = _parts(network(images))
            mirrored, _ = _parts(network(images.flip(-1)))
            probabilities = [self.probabilities(view.float()) for view in (logits, mirrored)]
            mean = self.logits((probabilities[0] + probabilities[1]) / 2)
            return mean if novelty is None else (mean, novelty)

        return Changed(network, both)

    def mean(self, predictions: Sequence[Tensor]) -> Tensor:
        """The mean of the probabilities, and of the novelty where that is known."""
        mean = torch.stack(list(predictions)).double().mean(0).float()
        found = [novelty for one in predictions if (novelty := novelty_of(one)) is not None]
        return judged(mean[None], torch.tensor([sum(found) / len(found)]) if found else None)[0]

    def metric(self, class_names: Sequence[str]) -> EitherMetric:
        """Accuracy and calibration; mean average precision where images have any number of labels."""
        return EitherMetric(
            partial(SingleLabelMetric, class_names, self.multi_label),
            partial(MultiLabelMetric, class_names, self.settings.threshold),
        )

    def val_metric(self, class_names: Sequence[str]) -> EitherMetric:
        """Accuracy, and the best temperature; or mean average precision, and the threshold that is best for F1."""
        if self.settings.set_thresholds is not None:
            raise MaxViTError("task.set_thresholds is what training finds on the validation images: leave it out")
        calibrated = partial(CalibratedMetric, search=self.settings.temperature is None)
        return EitherMetric(
            partial(CountedMetric if self.multi_label else calibrated, class_names),
            partial(MultiLabelMetric, class_names, self.settings.threshold),
        )

    def choosers(self, images: LabelledImages) -> list[str]:
        """Those of one class an image, or of any number; not what `settle` is given."""
        metric = self.val_metric(images.class_names)
        metric.begin(self.multi_label and are_several(images))
        return [*(name for name in metric.compute() if name not in SETTLED), "loss"]

    def baseline(self, train: LabelledImages, test: LabelledImages, spec: Preprocessing) -> Baseline | None:
        """That of histograms, where an image has one class of many."""
        if self.multi_label or any(np.ndim(images.labels) != 1 for images in (train, test)):
            return None
        from maxvit.tasks.histograms import histogram_baseline

        return histogram_baseline(train, test, spec)

    def probe(self, images: LabelledImages) -> Probe | None:
        """A linear classifier; of shares of classes, None."""
        if np.ndim(images.labels) == 2 and np.asarray(images.labels).dtype != bool:
            return None
        return partial(fit_classifier, balanced=self.settings.class_weights == "balanced")

    def panels(self, metric: EitherMetric, predictions: Sequence[Tensor]) -> Panels:
        """Confusions, reliability, mistakes, images of none of the classes; multi-label, the last two."""
        chosen = metric.chosen
        assert isinstance(chosen, MultiLabelMetric | SingleLabelMetric)
        shown = multi_label_panels(chosen) if isinstance(chosen, MultiLabelMetric) else single_label_panels(chosen)
        return dataclasses.replace(shown, refused=refused_images(predictions, chosen.class_names))

    def settle(self, network: Network, metrics: Mapping[str, float], metric: EitherMetric) -> None:
        """The threshold; or the temperature, and the thresholds of prediction sets."""
        assert isinstance(network, MaxViT)
        found, settings, chosen = network.config, self.settings, metric.chosen
        network.config = dataclasses.replace(
            found,
            threshold=metrics.get("threshold", found.threshold),
            temperature=settings.temperature or metrics.get("temperature", found.temperature),
            set_thresholds=chosen.set_thresholds() if isinstance(chosen, CalibratedMetric) else (),
        )

    def conclude(self, network: Network, data: Splits, workers: int, between: Callable[[], None]) -> str:
        """A score for images of none of the classes."""
        assert isinstance(network, MaxViT)
        return fit_novelty(network, self, data.train, data.val, workers, between)

    def best(self, prediction: Tensor, class_names: Sequence[str]) -> Best:
        """The most probable classes."""
        settings = self.settings
        threshold = settings.threshold if self.multi_label else settings.set_threshold
        return best_classes(prediction, class_names, settings.top_k, threshold, settings.coverage)

    def summary(self, prediction: Tensor, class_names: Sequence[str]) -> str:
        """The best classes; multi-label, those that reach the threshold."""
        return self.best(prediction, class_names).as_line()

    def target_summary(self, target: Tensor, class_names: Sequence[str]) -> str:
        """The class; shares in percent; multi-label, all that are there."""
        if target.ndim == 0:
            return class_names[int(target)]
        if target.dtype == torch.bool:
            return ", ".join(name for name, there in zip(class_names, target.tolist(), strict=True) if there) or "none"
        there = int((target > 0).sum())
        return best_classes(target, class_names, there, None).as_line()

    def to_json(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
        """ "classes", the most probable first."""
        return self.best(prediction, class_names).as_json()

    def row(self, prediction: Tensor, class_names: Sequence[str]) -> dict[str, Cell]:
        """The best classes, and multi-label the predicted ones."""
        top_k = min(self.settings.top_k, len(class_names))
        return self.best(prediction, class_names).as_row(top_k)

    def evaluated_row(self, prediction: Tensor, target: Tensor, class_names: Sequence[str]) -> dict[str, Cell]:
        """Target, prediction, whether it is correct; the best classes, with several labels the probability of all."""
        if target.dtype == torch.bool:
            return compared_with_classes(prediction, target, class_names, self.settings.threshold)
        return compared_with_class(prediction, target, class_names, self.settings.top_k)


def _parts(outputs: Any) -> tuple[Tensor, Tensor | None]:
    """Logits (B, classes), and novelty (B,) where the network has a score for it."""
    return outputs if isinstance(outputs, tuple) else (outputs, None)


class _Exported(nn.Module):
    """From images (B, C, H, W) to logits or probabilities (B, classes), and novelty (B,) where there is a score."""

    def __init__(self, network: nn.Module, change: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.network, self.change = network, change
        self.has_novelty = cast(MaxViT, network).config.novelty_centres > 0

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        outputs = cast(MaxViT, self.network).forward_novelty(images) if self.has_novelty else self.network(images)
        logits, novelty = _parts(outputs)
        first = logits if self.change is None else self.change(logits)
        return first if novelty is None else (first, novelty)


@lru_cache(maxsize=256)  # one for each size
def _transform(
    size: Size,
    augmentation: Augmentation,
    layers: tuple[int, int],
    crop_area: tuple[float, float],
    spec: Preprocessing,
) -> nn.Module:
    from maxvit.tasks.classification.augment import training_transform  # torchvision takes a second to import

    return training_transform(size, augmentation, layers, crop_area, spec)


TASK = Classification

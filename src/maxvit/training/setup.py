"""What a recipe asks for: its images, its network, and whether they fit one another."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from maxvit.config import THRESHOLD, VARIANTS, Preprocessing
from maxvit.create import create_model
from maxvit.data.annotated import AnnotatedImages, AnnotatedSplits
from maxvit.data.builtin import load_digits
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.depth import Range
from maxvit.data.finding import LOST
from maxvit.data.images import decode, read_size
from maxvit.data.load import load_images
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks import make_network as make_network_of
from maxvit.tasks import refuse_other_tasks
from maxvit.tasks.classification import balanced_weights
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import Task
from maxvit.training.recipe import Recipe

DIGITS = "digits"  # in place of a path


def load_data(recipe: Recipe) -> Splits:
    """The images of a recipe. Raises `MaxViTError` if there are none, or none that can be read."""
    if recipe.data.path is None:
        raise MaxViTError(
            "no data is given: maxvit train DATA, or data.path; digits is scikit-learn's handwritten ones"
        )
    if recipe.data.path == DIGITS:
        return load_digits()
    if "://" not in recipe.data.path:
        refuse_other_tasks(Path(recipe.data.path))
    data = load_images(recipe.data.path, recipe.data.val_fraction, recipe.seed)
    _check_lost(recipe, data)
    spec = _any_range(recipe)
    _check_readable(data.train, "training", spec, at_least=2)  # batch norm needs two values
    _check_readable(data.val, "validation", spec)
    if data.test is not None:
        _check_readable(data.test, "test", spec)
    return data


def _check_lost(recipe: Recipe, data: Splits | AnnotatedSplits) -> None:
    """Refuse data of which too much is missing, as if it could not be read."""
    parts = [part for part in (data.train, data.val, data.test) if part is not None]
    lost = [passed for passed in dict.fromkeys(p for part in parts for p in part.passed_over) if passed.why in LOST]
    number, limit = len(lost) + sum(map(len, parts)), recipe.data.max_unreadable_fraction
    if len(lost) > limit * number:
        raise MaxViTError(
            f"{len(lost):,} of the {number:,} images are {lost[0].why}, more than data.max_unreadable_fraction "
            f"({limit:.0%}) allows; the first: {lost[0].path}"
        )


def _any_range(recipe: Recipe) -> Preprocessing:
    """To see whether an image can be read, which does not depend on its range; that may not be measured yet."""
    spec = Preprocessing(value_range=(0, 1))
    return spec if recipe.data.max_pixels is None else dataclasses.replace(spec, max_pixels=recipe.data.max_pixels)


def _check_readable(
    images: LabelledImages | AnnotatedImages,
    part: str,
    spec: Preprocessing,
    at_least: int = 1,
    look: Callable[[int], object] = lambda index: None,
) -> None:
    """Look for images that can be read, by `look` too, until there are enough."""
    problems = []
    for number in range(1, len(images) + 1):
        try:
            decode(images.sources[number - 1], spec)
            look(number - 1)
        except (MaxViTError, OSError) as error:
            problems.append(str(error))
        if number - len(problems) == at_least:
            return
    first = f"; the first: {problems[0]}" if problems else ""
    if len(images) < at_least:
        raise MaxViTError(f"{len(images)} {part} image is too few, at least {at_least} are needed: add some{first}")
    found = f"{len(images) - len(problems)} of the {len(images)} {part} images can be read"
    raise MaxViTError(f"{found}, at least {at_least} must be{first}")


def make_network(recipe: Recipe, class_names: Sequence[str]) -> MaxViT:
    """A network for these classes: freshly initialised, the same for the same seed, or from pretrained weights."""
    torch.manual_seed(recipe.seed)
    settings = recipe.model
    network = _create(recipe, len(class_names))
    if settings.new_classifier or network.class_names != list(
        class_names
    ):  # also where the weights have as many classes, but others
        network.reset_classifier(len(class_names), class_names=class_names)
    multi_label = recipe.optimization.loss == "sigmoid"
    network.config = dataclasses.replace(network.config, multi_label=multi_label, threshold=THRESHOLD)
    _set_preprocessing(network, recipe)
    return network.train()


def _create(recipe: Recipe, num_classes: int | None) -> MaxViT:
    """The recipe's network; None: with the classes that its weights have."""
    settings, data = recipe.model, recipe.data
    made_for = None if settings.pretrained else VARIANTS[settings.name].image_size
    network = create_model(
        settings.name,
        num_classes=num_classes,
        image_size=(data.image_size or made_for) if settings.scale_windows else None,
        pretrained=settings.pretrained,
        drop_path_rate=settings.drop_path_rate,
    )
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = settings.batch_norm_momentum
    return network


def _set_preprocessing(network: MaxViT, recipe: Recipe) -> None:
    """What the recipe says of images; else what the weights expect, where there are some."""
    settings, data = recipe.model, recipe.data
    size = data.image_size or network.config.image_size
    expected = network.preprocessing if settings.pretrained else Preprocessing()
    network.config = dataclasses.replace(network.config, image_size=size)
    network.preprocessing = dataclasses.replace(
        expected,
        image_size=size,
        fit=data.fit or expected.fit,
        crop_pct=data.crop_pct or expected.crop_pct,
        mean=data.mean or expected.mean,
        std=data.std or expected.std,
        value_range=data.value_range or expected.value_range,
        max_pixels=data.max_pixels or expected.max_pixels,
    )
    network.set_gradient_checkpointing(recipe.model.gradient_checkpointing)


def settle_value_range(network: MaxViT | TaskNetwork, images: LabelledImages | AnnotatedImages) -> str:
    """Where neither recipe nor weights say what is black and white above 8 bits, measure it over training images.

    Returns:
        A sentence that says so; empty where there was nothing to measure.

    Raises:
        MaxViTError: As `measure_range`.
    """
    if network.preprocessing.value_range is not None:
        return ""
    # shards are read one after another, and hold their images in a random order
    sharded = isinstance(images, LabelledImages) and images.shards is not None
    measured = measure_range(images.sources, network.preprocessing, spread=not sharded)
    if measured is None:
        return ""
    set_value_range(network, measured[0])
    return measured[1]


def set_value_range(network: MaxViT | TaskNetwork, value_range: Range | None) -> None:
    """Make these values black and white in images of more than 8 bits; None: what their type can hold."""
    backbone = network.backbone if isinstance(network, TaskNetwork) else network
    backbone.preprocessing = dataclasses.replace(backbone.preprocessing, value_range=value_range)


def load_annotated(recipe: Recipe, task: Task) -> AnnotatedSplits:
    """The images of a recipe for a task.

    Raises:
        MaxViTError: If there are none, or none that can be read, or a setting is for classification alone.
    """
    if recipe.data.path is None:
        raise MaxViTError(f"no data is given: maxvit train DATA --task {task.name}, or data.path")
    _refuse_settings_of_classification(recipe, task)
    path = Path(recipe.data.path)
    if not path.exists():
        raise MaxViTError(f"{path} does not exist: check the path")
    data = task.load(path, recipe.data.val_fraction, recipe.seed)
    _check_lost(recipe, data)
    for images, part, at_least in ((data.train, "training", 2), (data.val, "validation", 1), (data.test, "test", 1)):
        if images is not None:
            _check_readable(images, part, _any_range(recipe), at_least, partial(_look_at_truth, task, images))
    return data


def _look_at_truth(task: Task, images: AnnotatedImages, index: int) -> None:
    task.target(images.annotations[index], read_size(images.sources[index]))


def _refuse_settings_of_classification(recipe: Recipe, task: Task) -> None:
    """Settings that would do nothing, or that no task has."""
    default = Recipe()
    ours = {
        "data": ("augmentation", "rand_augment", "mixup"),
        "optimization": ("loss", "label_smoothing", "class_weights"),
    }
    for section, keys in ours.items():
        for key in keys:
            if getattr(getattr(recipe, section), key) != getattr(getattr(default, section), key):
                raise MaxViTError(f"{section}.{key} is for classification: leave it out, see the section task")
    if recipe.model.new_classifier or recipe.engine.strategy != "ddp" or recipe.engine.compile:
        raise MaxViTError(
            "model.new_classifier, engine.compile and engine.strategy fsdp2 are for classification: leave them out"
        )
    if recipe.engine.precision == "fp64":
        raise MaxViTError("engine.precision fp64 is for classification: choose auto")
    if (recipe.data.fit or "aspect") not in task.fits:
        raise MaxViTError(f"data.fit is {recipe.data.fit}, and {task.name} takes {' or '.join(task.fits)}")
    if recipe.data.crop_pct not in (None, 1.0):
        raise MaxViTError(f"data.crop_pct is {recipe.data.crop_pct}: tasks look at whole images; leave it out")


def make_task_network(recipe: Recipe, task: Task, class_names: Sequence[str]) -> TaskNetwork:
    """A network for a task: freshly initialised, the same for the same seed, its backbone perhaps from weights."""
    torch.manual_seed(recipe.seed)
    backbone = _create(recipe, None)
    fit = recipe.data.fit or "aspect"
    _set_preprocessing(backbone, recipe)
    # antialiased as augmentation is, also where published weights were evaluated without
    changed = dataclasses.replace(backbone.preprocessing, fit=fit, crop_pct=1.0, interpolation="bicubic")
    backbone.preprocessing = changed
    return make_network_of(task, backbone, list(class_names)).train()


def check_rates(recipe: Recipe) -> None:
    """Refuse a learning rate that would rise to its end. Raises `MaxViTError`."""
    settings = recipe.optimization
    if settings.schedule != "constant" and settings.min_learning_rate > settings.learning_rate:
        raise MaxViTError(
            f"optimization.learning_rate is {settings.learning_rate:g}, below optimization.min_learning_rate, where it "
            f"ends, {settings.min_learning_rate:g}: lower that too"
        )


def check_fit(recipe: Recipe, images: LabelledImages) -> None:
    """Refuse, by `MaxViTError`, a loss that does not fit the labels."""
    labels = np.asarray(images.labels)
    if labels.ndim == 2 and recipe.optimization.loss == "softmax" and (abs(labels.sum(1) - 1) > 1e-3).any():
        raise MaxViTError(
            "images have several classes each, or none, and optimization.loss is softmax, which takes one or shares "
            "that sum to 1: set optimization.loss=sigmoid"
        )


def class_weights(recipe: Recipe, images: LabelledImages) -> torch.Tensor | None:
    """The weights of the loss that the recipe wants, (classes,); None: all alike. Raises `MaxViTError`."""
    if recipe.optimization.class_weights == "equal":
        return None
    labels = torch.as_tensor(np.asarray(images.labels))
    if labels.ndim == 2:
        raise MaxViTError("optimization.class_weights is balanced, which takes images with one class each: use equal")
    return balanced_weights(labels, len(images.class_names))

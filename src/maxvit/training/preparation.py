"""What a recipe asks for: its images, its network, and whether they fit one another."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from maxvit.config import VARIANTS, Preprocessing
from maxvit.create import create_model
from maxvit.data.digits import load_digits
from maxvit.data.images import decode
from maxvit.data.labelled import LabelledImages, Splits
from maxvit.data.sources import load_images
from maxvit.errors import MaxViTError
from maxvit.model import MaxViT
from maxvit.tasks.classification import balanced_weights
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
    data = load_images(recipe.data.path, recipe.data.val_fraction, recipe.seed)
    _check_readable(data.train, "training", at_least=2)  # batch norm needs two values
    _check_readable(data.val, "validation")
    if data.test is not None:
        _check_readable(data.test, "test")
    return data


def _check_readable(images: LabelledImages, part: str, at_least: int = 1) -> None:
    """Look for images that can be read until there are enough."""
    problems = []
    for number in range(1, len(images) + 1):
        try:
            decode(images.sources[number - 1])
        except (MaxViTError, OSError) as error:
            problems.append(str(error))
        if number - len(problems) == at_least:
            return
    found = f"{len(images) - len(problems)} of the {len(images)} {part} images can be read"
    raise MaxViTError(f"{found}, at least {at_least} must be" + (f"; the first: {problems[0]}" if problems else ""))


def make_network(recipe: Recipe, class_names: Sequence[str]) -> MaxViT:
    """A network for these classes: freshly initialised, the same for the same seed, or from pretrained weights."""
    torch.manual_seed(recipe.seed)
    settings, data = recipe.model, recipe.data
    made_for = None if settings.pretrained else VARIANTS[settings.name].image_size
    network = create_model(
        settings.name,
        num_classes=len(class_names),
        image_size=(data.image_size or made_for) if settings.scale_windows else None,
        pretrained=settings.pretrained,
        drop_path_rate=settings.drop_path_rate,
    )
    if settings.new_classifier or network.class_names != list(
        class_names
    ):  # also where the weights have as many classes, but others
        network.reset_classifier(len(class_names), class_names)
    size = data.image_size or network.config.image_size
    expected = network.preprocessing if settings.pretrained else Preprocessing()
    network.config = dataclasses.replace(network.config, image_size=size)
    network.preprocessing = dataclasses.replace(
        expected,
        image_size=size,
        fit=data.fit or expected.fit,
        crop_fraction=data.crop_fraction or expected.crop_fraction,
        mean=data.mean or expected.mean,
        std=data.std or expected.std,
    )
    network.set_gradient_checkpointing(recipe.model.gradient_checkpointing)
    return network.train()


def check_fit(recipe: Recipe, images: LabelledImages) -> None:
    """Refuse, by `MaxViTError`, settings that exclude one another, and a loss that does not fit the labels."""
    if recipe.engine.compile and recipe.model.gradient_checkpointing:
        raise MaxViTError(
            "engine.compile and model.gradient_checkpointing exclude one another (batch norm's statistics would count "
            "twice): set one to false"
        )
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

"""From a recipe to a plan: what it trains, on how many images."""

from pathlib import Path
from typing import NamedTuple

import torch

from maxvit.create import create_model
from maxvit.data.builtin import DIGITS
from maxvit.data.describing import describe
from maxvit.data.load import load_images
from maxvit.errors import MaxViTError
from maxvit.inference.engines import say
from maxvit.plan.cost import IMAGES_PER_CORE, Plan, Schedule, make_plan
from maxvit.plan.devices import Devices, Precision
from maxvit.summary import Summary, summarize
from maxvit.training.recipe import Recipe


class TrainingImages(NamedTuple):
    """What a recipe is trained on.

    Attributes:
        number: Of images, for training.
        classes: How many; None: not known.
        bytes_each: Of a stored image, on average.
        source: Where these figures come from.
    """

    number: int
    classes: int | None
    bytes_each: float
    source: str


BYTES_OF_A_JPEG = 110e3  # ImageNet-1K: about 140 GB for 1.28 M images
PUBLISHED = {  # by how a recipe's name starts
    "imagenet1k": TrainingImages(1_281_167, 1000, BYTES_OF_A_JPEG, "ImageNet-1K (ILSVRC 2012), training part"),
    DIGITS: TrainingImages(1293, 10, 64, "scikit-learn's handwritten digits, training part"),
    "imagenet21k": TrainingImages(14_197_122, 21_843, 92e3, "the full ImageNet-21K of winter 2011"),  # 1.3 TB
}


def plan_recipe(
    recipe: Recipe,
    images: TrainingImages,
    devices: Devices,
    precision: Precision,
    images_per_core: float = IMAGES_PER_CORE[0],
) -> tuple[Plan, Summary]:
    """What a recipe's training needs, and the network in figures.

    Windows are those of official fine-tuning, ceil(side / 32), where the recipe names an image size.

    Raises:
        MaxViTError: As `make_plan`.
    """
    with torch.device("meta"):
        network = create_model(recipe.model.name, num_classes=images.classes, image_size=recipe.data.image_size)
    schedule = Schedule(
        images=images.number,
        batch_size=recipe.data.batch_size,
        epochs=recipe.optimization.epochs,
        warmup_epochs=recipe.optimization.warmup_epochs,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        image_bytes=images.bytes_each,
        device_batch_size=recipe.data.device_batch_size,
    )
    summary = summarize(network)
    return make_plan(summary, schedule, devices, precision, images_per_core), summary


def training_images(
    name: str, path: str | None, number: int | None = None, val_fraction: float = 0.2
) -> TrainingImages:
    """How many images a recipe is trained on.

    Args:
        name: Of the recipe, or its file's.
        path: The recipe's data.
        number: As the user says; None: counted in `path` if that exists, else known by the recipe's name.
        val_fraction: What training holds out where the data has no validation part.

    Raises:
        MaxViTError: If nothing says how many.
    """
    if number is not None:
        unknown = TrainingImages(number, None, BYTES_OF_A_JPEG, "given")
        return (_published(name) or unknown)._replace(number=number, source="given")
    if path is not None and path != DIGITS and (Path(path).exists() or "://" in path):
        return _count(path, val_fraction)
    if found := _published(name):
        return found
    place = f"its data {path} is not a folder here" if path else "it names no folder of images"
    raise MaxViTError(f"how many images does {name} train on? {place}: give their number with --images")


def _published(name: str) -> TrainingImages | None:
    return next((images for start, images in PUBLISHED.items() if Path(name).name.startswith(start)), None)


def _count(path: str, val_fraction: float) -> TrainingImages:
    """The training part of a folder, of shards or of a list."""
    data = load_images(path, val_fraction)
    say(describe(data))
    train = data.train
    sizes = [float(source.stat().st_size) for source in train.sources if isinstance(source, Path)] or [BYTES_OF_A_JPEG]
    return TrainingImages(
        len(train), len(train.class_names), sum(sizes) / len(sizes), f"counted in {path}, without what is held out"
    )

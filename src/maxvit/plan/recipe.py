"""From a recipe to a plan: what it trains, on how many images."""

from pathlib import Path
from typing import NamedTuple

import torch

from maxvit.create import create_model
from maxvit.data.builtin import DIGITS, is_builtin
from maxvit.data.dataset import describe
from maxvit.errors import MaxViTError
from maxvit.inference.engines import say
from maxvit.plan.cost import IMAGES_PER_CORE, Plan, Schedule, make_plan
from maxvit.plan.devices import Devices, Precision
from maxvit.summary import Summary, summarize
from maxvit.tasks import make_task
from maxvit.training.recipe import Recipe


class TrainingImages(NamedTuple):
    """What a recipe is trained on.

    Attributes:
        number: Number of images, for training.
        classes: How many; None: not known.
        bytes_each: Bytes of a stored image, on average.
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
    "coco-stuff": TrainingImages(118_287, 171, 163e3, "COCO-Stuff, train2017"),  # 19 GB
    "coco": TrainingImages(118_287, 80, 163e3, "COCO, train2017"),
    "ade20k": TrainingImages(20_210, 150, 40e3, "ADE20K of the 2016 challenge, training part"),  # 0.9 GB
    "ava": TrainingImages(204_424, 10, 125e3, "AVA, without the fifth that is held out"),  # 32 GB
}


def plan_recipe(
    recipe: Recipe,
    images: TrainingImages,
    devices: Devices,
    precision: Precision,
    images_per_core: float = IMAGES_PER_CORE[0],
) -> tuple[Plan, Summary]:
    """What a recipe's training needs, whatever its task, and the network in figures.

    Raises:
        MaxViTError: As `make_plan`, or if the task's head cannot be put on the network, or there is a teacher.
    """
    if recipe.model.teacher is not None:
        raise MaxViTError(f"model.teacher is {recipe.model.teacher}, whose answers no plan counts: leave it out")
    size, task = recipe.data.image_size, make_task(recipe.task)
    names = [str(i) for i in range(images.classes or task.usual_classes)]
    with torch.device("meta"):
        settings = recipe.model
        backbone = create_model(
            settings.name,
            in_channels=settings.in_channels or 3,
            image_size=size if settings.scale_windows else None,
            window_size=settings.window_size,
            depths=settings.depths,
            order=settings.order,
        )
        network = task.make_network(backbone, names, new_head=True)
    schedule = Schedule(
        images=images.number,
        batch_size=recipe.data.batch_size,
        epochs=recipe.optimization.epochs,
        warmup_epochs=recipe.optimization.warmup_epochs,
        gradient_checkpointing=recipe.model.gradient_checkpointing,
        image_bytes=images.bytes_each,
        device_batch_size=recipe.data.device_batch_size,
        sharded=recipe.engine.strategy == "fsdp2",
    )
    summary = summarize(network, size)
    return make_plan(summary, schedule, devices, precision, images_per_core), summary


def training_images(name: str, recipe: Recipe, number: int | None = None) -> TrainingImages:
    """How many images a recipe is trained on.

    Args:
        name: Name of the recipe, or its file's.
        recipe: It says where the data is and what the task is.
        number: As the user says; None: counted in the data if it exists, else known by the recipe's name.

    Raises:
        MaxViTError: If nothing says how many.
    """
    path = recipe.data.path
    if number is not None:
        unknown = TrainingImages(number, None, BYTES_OF_A_JPEG, "given")
        found = (_published(name) or unknown)._replace(number=number, source="given")
    elif path is not None and path != DIGITS and (is_builtin(path) or Path(path).exists() or "://" in path):
        found = _count(recipe, path)
    elif published := _published(name):
        found = published
    else:
        place = f"its data {path} is not here" if path else "it names no data"
        raise MaxViTError(f"how many images does {name} train on? {place}: give their number with --images")
    if found.classes is None:
        classes = make_task(recipe.task).usual_classes
        found = found._replace(source=f"{found.source}, of {classes:,} classes (assumed)")
    return found


def _published(name: str) -> TrainingImages | None:
    return next((images for start, images in PUBLISHED.items() if Path(name).name.startswith(start)), None)


def _count(recipe: Recipe, path: str) -> TrainingImages:
    """The training part, as the task reads it."""
    data = make_task(recipe.task).by_columns(recipe.data.columns).load(path, recipe.data.val_fraction, recipe.seed)
    say(describe(data))
    train = data.train
    sizes = [float(source.stat().st_size) for source in train.sources if isinstance(source, Path)] or [BYTES_OF_A_JPEG]
    return TrainingImages(
        len(train), len(train.class_names), sum(sizes) / len(sizes), f"counted in {path}, without what is held out"
    )

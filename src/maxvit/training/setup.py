"""What a recipe asks for: its images, its network, and whether they fit one another."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from maxvit.config import VARIANTS, Preprocessing, Range
from maxvit.create import create_model, shipped_weights
from maxvit.data.band_count import count_bands, say_pages
from maxvit.data.bands import say_shown
from maxvit.data.builtin import is_builtin
from maxvit.data.dataset import LabelledImages, Splits, at_most
from maxvit.data.finding import LOST
from maxvit.data.folds import hold_out_fold, hold_out_named, named_folds
from maxvit.data.images import decode, read_size
from maxvit.data.value_range import measure_range
from maxvit.errors import EXTRAS, MaxViTError, require
from maxvit.model import MaxViT
from maxvit.tasks import make_task, refuse_other_tasks
from maxvit.tasks.network import Network, backbone_of
from maxvit.tasks.task import Task
from maxvit.training.recipe import SHIPPED, Recipe


def check_libraries(recipe: Recipe) -> None:
    """Refuse to train without the libraries that training and its task need. Raises `MaxViTError`."""
    require("training", *EXTRAS["train"], *EXTRAS.get(recipe.task["name"], ()))


def load_data(recipe: Recipe) -> Splits:
    """The images of a recipe. Raises `MaxViTError` if there are none, or none that can be read."""
    task, place = make_task(recipe.task).by_columns(recipe.data.columns), recipe.data.path
    _check_fit(recipe, task)
    if place is None:
        raise MaxViTError(
            "no data is given: maxvit train DATA, or data.path; digits is scikit-learn's handwritten ones"
        )
    if not is_builtin(place) and "://" not in place:
        if not Path(place).exists():
            raise MaxViTError(f"{place} does not exist: check the path")
        refuse_other_tasks(Path(place), type(task), task.other_layout)
    data = limited(_load_splits(task, place, recipe), recipe.data.limit, recipe.seed)
    _check_lost(recipe, data)
    task.check(data.train)
    spec = _any_range(recipe, channels_of(recipe, data.train))
    for images, part, at_least in ((data.train, "training", 2), (data.val, "validation", 1), (data.test, "test", 1)):
        if images is not None:  # batch norm needs two values
            _check_readable(task, images, part, spec, at_least)
    return data


def _load_splits(task: Task, place: str, recipe: Recipe) -> Splits:
    """As the task divides the images; or one fold of those of training held out."""
    settings = recipe.data
    if settings.folds is None:
        return task.load(place, settings.val_fraction, recipe.seed)
    parts = task.parts(place)
    images = _images_to_fold(parts, place)
    if isinstance(settings.folds, str):
        names = named_folds(images, settings.folds)
        if settings.fold >= len(names):
            raise MaxViTError(
                f"data.fold is {settings.fold}; it takes 0 to {len(names) - 1}, as there are {len(names)} folds"
            )
        train, val = hold_out_named(images, settings.folds, names[settings.fold])
    else:
        if settings.fold >= settings.folds:
            raise MaxViTError(f"data.fold is {settings.fold}; it takes 0 to {settings.folds - 1}, as data.folds says")
        train, val = hold_out_fold(images, task.one_class(images), settings.folds, settings.fold, recipe.seed)
    return Splits(train, val, parts.get("test"))


def name_folds(recipe: Recipe) -> list[str]:
    """What each fold of a recipe is called: by its number, or as a column of the list names it."""
    folds, place = recipe.data.folds, recipe.data.path
    if not isinstance(folds, str):
        return [str(number + 1) for number in range(folds or 0)]
    assert place is not None
    parts = make_task(recipe.task).by_columns(recipe.data.columns).parts(place)
    return named_folds(_images_to_fold(parts, place), folds)


def _images_to_fold(parts: Mapping[str, LabelledImages], place: str) -> LabelledImages:
    """Those of training, where there is no validation part."""
    if "val" in parts:
        raise MaxViTError(f"{place} has a validation part of its own, which folds would not use: leave data.folds out")
    images = parts.get("train", parts.get("all"))
    if images is None:
        raise MaxViTError(f"{place} has no images to learn from: add a part train")
    return images


def limited(data: Splits, limit: int | None, seed: int) -> Splits:
    """So many training images at most, and a quarter as many of the others, drawn by a seed."""
    if limit is None:
        return data
    others = max(1, limit // 4)
    test = data.test and at_most(data.test, others, seed)
    return Splits(at_most(data.train, limit, seed), at_most(data.val, others, seed), test)


def _check_lost(recipe: Recipe, data: Splits) -> None:
    """Refuse data of which too much is missing, as if it could not be read."""
    parts = [part for part in (data.train, data.val, data.test) if part is not None]
    lost = [passed for passed in dict.fromkeys(p for part in parts for p in part.passed_over) if passed.why in LOST]
    number, limit = len(lost) + sum(map(len, parts)), recipe.data.max_unreadable_fraction
    if len(lost) > limit * number:
        raise MaxViTError(
            f"{len(lost):,} of the {number:,} images are {lost[0].why}, more than data.max_unreadable_fraction "
            f"({limit:.0%}) allows; the first: {lost[0].path}"
        )


def channels_of(recipe: Recipe, images: LabelledImages) -> int:
    """Channels of the network: what the recipe says, else the bands of the images to learn from.

    Raises:
        MaxViTError: If these have different numbers.
    """
    if recipe.model.in_channels in (1, 3):
        return recipe.model.in_channels
    found = count_bands(images.sources, images.names, spread=images.shards is None)
    return recipe.model.in_channels or found


def _any_range(recipe: Recipe, channels: int) -> Preprocessing:
    """To see whether an image can be read, which does not depend on its range; that may not be measured yet."""
    spec = Preprocessing(value_range=(0, 1)).for_channels(channels)
    return spec if recipe.data.max_pixels is None else dataclasses.replace(spec, max_pixels=recipe.data.max_pixels)


def _check_readable(task: Task, images: LabelledImages, part: str, spec: Preprocessing, at_least: int) -> None:
    """Look for images that can be read, with their labels, until there are enough."""
    problems = []
    for number in range(1, len(images) + 1):
        try:
            source = images.sources[number - 1]
            decode(source, spec)
            task.target(images.labels[number - 1], read_size(source))
        except (MaxViTError, OSError) as error:
            problems.append(str(error))
        if number - len(problems) == at_least:
            return
    first = f"; the first: {problems[0]}" if problems else ""
    if len(images) < at_least:
        raise MaxViTError(f"{len(images)} {part} image is too few, at least {at_least} are needed: add some{first}")
    found = f"{len(images) - len(problems)} of the {len(images)} {part} images can be read"
    raise MaxViTError(f"{found}, at least {at_least} must be{first}")


def make_network(recipe: Recipe, class_names: Sequence[str], channels: int = 3) -> Network:
    """A network for these classes: freshly initialised, the same for the same seed, or on pretrained weights.

    Args:
        recipe: It says which.
        class_names: What it tells apart.
        channels: Of its images, where the recipe does not say it.

    Raises:
        MaxViTError: If the recipe's values do not fit one another, or there are no such weights.
    """
    task, settings, data = make_task(recipe.task), recipe.model, recipe.data
    _check_fit(recipe, task)
    torch.manual_seed(recipe.seed)
    pretrained = _weights(recipe)
    made_for = None if pretrained else VARIANTS[settings.name].image_size
    backbone = create_model(
        settings.name,
        num_classes=len(class_names),
        in_channels=settings.in_channels or channels,
        image_size=(data.image_size or made_for) if settings.scale_windows else None,
        pretrained=pretrained,
        drop_path_rate=settings.drop_path_rate,
        window_size=settings.window_size,
        depths=settings.depths,
        order=settings.order,
    )
    for part in backbone.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = settings.batch_norm_momentum
    _set_preprocessing(backbone, recipe, task)
    backbone.set_gradient_checkpointing(settings.gradient_checkpointing)
    return task.make_network(backbone, class_names, settings.new_head).train()


def _weights(recipe: Recipe) -> bool | str | None:
    """What `create_model` takes as `pretrained`."""
    settings = recipe.model
    return shipped_weights(settings.name) if settings.pretrained == SHIPPED else settings.pretrained


def say_start(recipe: Recipe) -> str:
    """From which weights a run starts, where the recipe leaves that to the package; else nothing."""
    name = recipe.model.name
    if recipe.model.pretrained != SHIPPED:
        return ""
    if (tag := shipped_weights(name)) is None:
        return f"starts from random weights: none of {name} come with the package; model.pretrained=true: published"
    return f"starts from {name}'s weights {tag}, which come with the package; --scratch takes random ones"


def _check_fit(recipe: Recipe, task: Task) -> None:
    """Refuse a shape of images that the task does not take."""
    if task.fits is None:
        return
    if (recipe.data.fit or task.fits[0]) not in task.fits:
        raise MaxViTError(f"data.fit is {recipe.data.fit}, and {task.name} takes {' or '.join(task.fits)}")
    if recipe.data.crop_pct not in (None, 1.0):
        raise MaxViTError(f"data.crop_pct is {recipe.data.crop_pct}: {task.name} looks at whole images; leave it out")


def _set_preprocessing(backbone: MaxViT, recipe: Recipe, task: Task) -> None:
    """What the recipe says of images; else what the weights expect, where there are some."""
    data = recipe.data
    size = data.image_size or backbone.config.frame_size
    expected = backbone.preprocessing
    if not _weights(recipe):
        expected = Preprocessing().for_channels(backbone.config.in_channels)
    for name, values in (("data.mean", data.mean), ("data.std", data.std)):
        if values is not None and len(values) != expected.channels:
            raise MaxViTError(
                f"{name} has {len(values)} values, and the network {expected.channels} channels: give a value for each"
            )
    if task.fits is not None:
        # antialiased as augmentation is, also where published weights were evaluated without
        expected = dataclasses.replace(expected, fit=task.fits[0], crop_pct=1.0, interpolation="bicubic")
    backbone.config = dataclasses.replace(backbone.config, image_size=size)
    backbone.preprocessing = dataclasses.replace(
        expected,
        image_size=size,
        fit=data.fit or expected.fit,
        crop_pct=data.crop_pct or expected.crop_pct,
        mean=data.mean or expected.mean,
        std=data.std or expected.std,
        value_range=data.value_range or expected.value_range,
        max_pixels=data.max_pixels or expected.max_pixels,
        shown_bands=data.shown_bands or expected.shown_bands,
    )


def say_bands(network: Network, recipe: Recipe, task: Task, images: LabelledImages) -> str:
    """For images of bands: how many, and how they are normalised, changed and shown; for photographs: if files have
    pages that are not read. Else nothing."""
    spec = network.preprocessing
    if not spec.takes_bands:
        return say_pages(images.sources[0])
    found = "" if recipe.model.in_channels else ", as the files say (model.in_channels sets another number)"
    halves = {*spec.mean, *spec.std} == {0.5}
    normalised = "; mean and std are 0.5 (data.mean and data.std set others)" if halves else ""
    skipped = task.for_photographs()
    said = f"images of {spec.channels} bands{found}{normalised}"
    said += f"; left out, as it is for photographs: {skipped}" if skipped else ""
    return f"{said}; pictures show {say_shown(spec)}"


def settle_value_range(network: Network, images: LabelledImages) -> str:
    """Where neither recipe nor weights say what is black and white above 8 bits, measure it over training images.

    Returns:
        A sentence that says so; empty where there was nothing to measure.

    Raises:
        MaxViTError: As `measure_range`.
    """
    if network.preprocessing.value_range is not None:
        return ""
    # shards are read one after another, and hold their images in a random order
    measured = measure_range(images.sources, network.preprocessing, spread=images.shards is None)
    if measured is None:
        return ""
    set_value_range(network, measured[0])
    return measured[1]


def set_value_range(network: Network, value_range: Range | tuple[Range, ...] | None) -> None:
    """Make these values black and white in images of more than 8 bits; None: what their type can hold."""
    backbone = backbone_of(network)
    backbone.preprocessing = dataclasses.replace(backbone.preprocessing, value_range=value_range)


def check_metric(recipe: Recipe, task: Task, val: LabelledImages) -> None:
    """Refuse a metric that validation does not measure, or cannot, as a library is missing. Raises `MaxViTError`."""
    known, metric = task.choosers(val), recipe.optimization.metric
    if metric not in (None, *known):
        raise MaxViTError(f"optimization.metric is {metric!r}; validation measures {', '.join(known)}: choose one")


def check_rates(recipe: Recipe) -> None:
    """Refuse a learning rate that would rise to its end. Raises `MaxViTError`."""
    settings = recipe.optimization
    if settings.schedule != "constant" and settings.min_learning_rate > settings.learning_rate:
        raise MaxViTError(
            f"optimization.learning_rate is {settings.learning_rate:g}, below optimization.min_learning_rate, where it "
            f"ends, {settings.min_learning_rate:g}: lower that too"
        )

"""Networks that predict together: the mean of what each says of an image, with its mirror image if that is wanted."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maxvit.config import Size, check_known
from maxvit.errors import MaxViTError
from maxvit.inference.engines import TTA, Engine, open_sizes, predict, predict_and_embed
from maxvit.tasks.protocols import Predicted
from maxvit.tasks.task import Task


class Ensemble:
    """One network or several, of one task and the same classes; each sees an image as its own weights expect.

    Args:
        engines: At least one.
        tta: As for `predict`.
        size: (height, width) of the images, for all of them; None: as the weights of each expect.

    Attributes:
        specs: What they expect of an image, each once.
        task: Task of the first, with its settings.
        class_names: What they tell apart.

    Raises:
        MaxViTError: If they are of different tasks or classes, or what is wanted of the task has no mean.
    """

    def __init__(self, engines: Sequence[Engine], tta: str = "none", size: Size | None = None) -> None:
        check_known("test-time augmentation", [tta], TTA)
        if not engines:
            raise MaxViTError("there is no network to predict with: give one or more")
        self.engines, self.tta, self.task = list(engines), tta, engines[0].task
        self.class_names = names_of(engines[0])
        for number, other in enumerate(engines[1:], 2):
            _check_same(engines[0], other, number)
        if tta == "flip":
            self.task.with_mirror(engines[0])  # it is refused now, and not at the first image
        specs = [engine.preprocessing for engine in engines]
        if size is not None:
            specs = [dataclasses.replace(spec, image_size=size) for spec in specs]
        self.specs = list(dict.fromkeys(specs))
        self._places = [self.specs.index(spec) for spec in specs]

    @property
    def name(self) -> str:
        """What computes, in a few words."""
        names = list(dict.fromkeys(engine.name for engine in self.engines))
        return ("" if len(self.engines) == 1 else f"{len(self.engines)} networks, ") + "; ".join(names)

    @property
    def compromise(self) -> str:
        """In which settings of their answers they differ, as those of the first count; nothing, if in none."""
        for name in self.task.after_export:
            values = [getattr(engine.task.settings, name) for engine in self.engines]
            if len(set(values)) > 1:
                said = ", ".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
                return (
                    f"task.{name} of the networks is {said}, and that of the first counts: --set {name}=... to choose"
                )
        return ""

    def predict(self, images: Sequence[Tensor], sizes: Sequence[Size]) -> list[Predicted]:
        """What they say of prepared images.

        Args:
            images: The same images as each of `specs` wants them, (B, C, H, W) each.
            sizes: Sizes of each image as it was decoded.
        """
        pairs = zip(self.engines, self._places, strict=True)
        each = [predict(engine, images[place], sizes, self.tta) for engine, place in pairs]
        return each[0] if len(each) == 1 else [self.task.mean(same) for same in zip(*each, strict=True)]

    def predict_and_embed(self, images: Sequence[Tensor], sizes: Sequence[Size]) -> tuple[list[Predicted], Tensor]:
        """The same, and the features of each image, (B, features) float32 on the CPU, not of its mirror image.

        Raises:
            MaxViTError: If there are several networks, or this one cannot tell.
        """
        return predict_and_embed(self.only, images[0], sizes, self.tta)

    @property
    def only(self) -> Engine:
        """The one that there is. Raises `MaxViTError` if there are several."""
        if len(self.engines) > 1:
            several = f"{len(self.engines)} predict together"
            raise MaxViTError(f"embeddings and explanations are of one network, and {several}: give one of them")
        return self.engines[0]


def as_several(given: Any) -> list[Any]:
    """A list, also of what is not one."""
    return list(given) if isinstance(given, list | tuple) else [given]


def open_sizes_together(
    paths: Sequence[str | Path],
    sizes: Sequence[Size] = (),
    scale_windows: bool = False,
    engine: str = "auto",
    device: torch.device | str | None = None,
    precision: str = "auto",
    settings: Mapping[str, Any] | None = None,
) -> dict[Size | None, list[Engine]]:
    """`open_sizes` of several checkpoints.

    Returns:
        The engines at each size; at None, where none is given and each expects another.
    """
    each = [open_sizes(path, sizes, scale_windows, engine, device, precision, settings) for path in paths]
    if sizes:
        return {size: [opened[size] for opened in each] for size in sizes}
    own = {size for opened in each for size in opened}
    return {own.pop() if len(own) == 1 else None: [engine for opened in each for engine in opened.values()]}


def names_of(engine: Engine) -> list[str]:
    """What an engine tells apart. Raises `MaxViTError` if it predicts nothing."""
    return engine.task.names(engine.class_names, engine.config)


def _check_same(first: Engine, other: Engine, number: int) -> None:
    """Refuse what has no mean with the first."""
    if type(other.task) is not type(first.task) or other.config.multi_label != first.config.multi_label:
        kinds = [one.task.name + " of several labels" * one.config.multi_label for one in (first, other)]
        raise MaxViTError(f"network {number} is for {kinds[1]}, and the first for {kinds[0]}: give those of one task")
    if type(first.task).mean is Task.mean:
        raise MaxViTError(f"{first.task.name} has no mean of predictions of several networks: give one")
    names, others = names_of(first), names_of(other)
    if names != others:
        at = next(
            (i for i, (a, b) in enumerate(zip(names, others, strict=False)) if a != b), min(len(names), len(others))
        )
        said = [f"{len(some)} classes ({_named(some, at)})" for some in (others, names)]
        raise MaxViTError(
            f"network {number} has {said[0]}, and the first {said[1]}: give those of the same classes in the same order"
        )


def _named(names: Sequence[str], at: int) -> str:
    """The class at which they begin to differ."""
    return f"number {at + 1} is {names[at]}" if at < len(names) else f"no number {at + 1}"

"""Measure a classifier on labelled images."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from maxvit.config import Preprocessing, Size, check_known
from maxvit.data.dataset import LabelledImages, are_several
from maxvit.data.loading import evaluation_loader
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, TorchEngine
from maxvit.inference.evaluation import Evaluation, average
from maxvit.inference.multi_label import MultiLabelEvaluation
from maxvit.inference.progress import track
from maxvit.model import MaxViT

TTA = ("none", "flip")
TOGETHER = "together"


def evaluate(
    model: MaxViT | Engine,
    images: LabelledImages,
    batch_size: int = 64,
    workers: int = 0,
    show_progress: bool = False,
    *,
    size: Size | None = None,
    tta: str = "none",
    part: tuple[int, int] = (0, 1),
) -> Evaluation | MultiLabelEvaluation:
    """Run the network over labelled images, preprocessed as its weights expect.

    Args:
        model: A classifier, which is left in the mode that it was in; or an engine, see `open_engine`.
        images: Of classes that the model has. Labels (n, classes) of 0 and 1 are several labels each, for a
            multi-label network; where they are shares of classes, the largest is the true class.
        batch_size: Images per forward.
        workers: Processes that decode.
        show_progress: Draw a bar on standard error.
        size: (height, width) of the images; nothing else of the preprocessing changes, and the network keeps its
            windows. None: as the weights expect.
        tta: "flip": the mean of the probabilities of an image and of its mirror image, in twice the time; not for
            characters, of which the mirror image is none. "none": the image alone.
        part: (rank, world): every world-th image from rank on, for one of several processes; see `merge`.

    Returns:
        The answers in the order of the images, for several labels each as `MultiLabelEvaluation`. Those of a share may
        be none at all.

    Raises:
        MaxViTError: If the classes are not the model's, an image has several and the network answers one, an option is
            out of range, or no image can be read.
    """
    engine = TorchEngine(model) if isinstance(model, MaxViT) else model
    check_known("test-time augmentation", [tta], TTA)
    spec = _resized(engine.preprocessing, size)
    rank, world = part
    if not 0 <= rank < world:
        raise MaxViTError(f"part is {part}; it takes (rank, world) with rank from 0 up to world - 1")
    _check_classes(engine, images)
    positions = np.arange(rank, len(images), world)
    several = engine.config.multi_label and are_several(images.labels)
    share = (images if several else with_one_class(images)).subset(positions.tolist())
    probabilities, labels, indices, skipped = [], [], [], []
    for batch in track(evaluation_loader(share, spec, batch_size, workers), "evaluating", show_progress):
        skipped += batch.skipped
        if len(batch.labels):
            probabilities.append(_answer(engine, batch.images, tta))
            labels.append(batch.labels)
            indices.append(batch.indices)
    if not labels and world == 1:
        raise MaxViTError(f"none of the {len(images)} images can be read; the first: {skipped[0]}")
    if not labels:
        probabilities, indices = [torch.empty(0, len(images.class_names))], [torch.empty(0, dtype=torch.int64)]
        labels = probabilities if several else indices
    order = torch.cat(indices).argsort()  # batches come by size, answers in the order of the images
    truth, answer = torch.cat(labels)[order].numpy(), torch.cat(probabilities)[order].numpy()
    places = positions[torch.cat(indices)[order].numpy()]
    if several:
        return MultiLabelEvaluation(images.class_names, truth > 0.5, answer, places, skipped, engine.config.threshold)
    return Evaluation(images.class_names, truth, answer, places, skipped, engine.config.multi_label)


def evaluate_sizes(
    engines: Mapping[Size, MaxViT | Engine],
    images: LabelledImages,
    batch_size: int = 64,
    workers: int = 0,
    show_progress: bool = False,
    *,
    tta: str = "none",
) -> dict[str, Evaluation | MultiLabelEvaluation]:
    """`evaluate` at several sizes, and the answer of all together.

    Args:
        engines: What answers at each size, (height, width); often the same. See `open_sizes`.
        images: As for `evaluate`.
        batch_size: As for `evaluate`.
        workers: As for `evaluate`.
        show_progress: As for `evaluate`.
        tta: As for `evaluate`.

    Returns:
        "224 x 224" and so on, in the order given; then, of more than one size, "together": the mean of their
        probabilities.

    Raises:
        MaxViTError: As `evaluate`; or if there is no size, or an engine refuses its own, before any image is read.
    """
    if not engines:
        raise MaxViTError("there are no sizes to evaluate at: give one or more")
    opened = {size: TorchEngine(model) if isinstance(model, MaxViT) else model for size, model in engines.items()}
    for size, engine in opened.items():
        _resized(engine.preprocessing, size)
        if len(opened) > 1:
            engine(torch.zeros(1, engine.config.in_channels, *size))
    results = {
        size_name(size): evaluate(engine, images, batch_size, workers, show_progress, size=size, tta=tta)
        for size, engine in opened.items()
    }
    return {**results, TOGETHER: average(list(results.values()))} if len(results) > 1 else results


def size_name(size: Size) -> str:
    """What a size is called: "224 x 320", height first."""
    return f"{size[0]} x {size[1]}"


def with_one_class(images: LabelledImages) -> LabelledImages:
    """The same images, each labelled with one class: the largest of its shares, where it has shares of classes.

    Raises:
        MaxViTError: If those of an image do not sum to 1.
    """
    labels = np.asarray(images.labels)
    if labels.ndim == 1:
        return images
    sums = labels.sum(1)
    if len(wrong := np.flatnonzero(~(np.abs(sums - 1) < 1e-3))):  # NaN is wrong too
        raise MaxViTError(
            f"the labels of {images.names[wrong[0]]} sum to {sums[wrong[0]]:g}, and shares of classes sum to 1: "
            "evaluate on images of one class each, or train a network for several with optimization.loss=sigmoid"
        )
    return dataclasses.replace(images, labels=labels.argmax(1).tolist())


def _resized(spec: Preprocessing, size: Size | None) -> Preprocessing:
    return spec if size is None else dataclasses.replace(spec, image_size=size)


def _check_classes(engine: Engine, images: LabelledImages) -> None:
    shape = np.shape(images.labels)
    if len(shape) != 1 and shape[1:] != (len(images.class_names),):
        raise MaxViTError(
            f"labels have shape {shape}: give one number an image, or (images, {len(images.class_names)}) shares"
        )
    if engine.config.num_classes != len(images.class_names):
        raise MaxViTError(
            f"the model has {engine.config.num_classes} classes and the data {len(images.class_names)}: "
            "evaluate on the classes that it was trained for"
        )
    if engine.class_names and engine.class_names != images.class_names:
        raise MaxViTError(
            f"the model's classes are {', '.join(engine.class_names[:5])}, ..., the data's "
            f"{', '.join(images.class_names[:5])}, ...: evaluate on the classes that it was trained for"
        )
    if not len(images):
        raise MaxViTError("there are no images to evaluate on")


def _answer(engine: Engine, images: Tensor, tta: str) -> Tensor:
    """Probabilities, (B, classes)."""
    meaning = engine.config.probabilities
    probabilities = meaning(engine(images))
    return (probabilities + meaning(engine(images.flip(-1)))) / 2 if tta == "flip" else probabilities

"""Measure a classifier on labelled images."""

import torch

from maxvit.data.labelled import LabelledImages
from maxvit.data.loading import evaluation_loader
from maxvit.errors import MaxViTError
from maxvit.inference.engines import Engine, TorchEngine
from maxvit.inference.evaluation import Evaluation
from maxvit.inference.progress import track
from maxvit.model import MaxViT


def evaluate(
    model: MaxViT | Engine, images: LabelledImages, batch_size: int = 64, workers: int = 0, show_progress: bool = False
) -> Evaluation:
    """Run the network over labelled images, preprocessed as its weights expect.

    Args:
        model: A classifier, which is left in the mode that it was in; or an engine, see `open_engine`.
        images: Of classes that the model has.
        batch_size: Images per forward.
        workers: Processes that decode.
        show_progress: Draw a bar on standard error.

    Raises:
        MaxViTError: If the classes are not the model's, or no image can be read.
    """
    engine = TorchEngine(model) if isinstance(model, MaxViT) else model
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
    loader = evaluation_loader(images, engine.preprocessing, batch_size, workers)
    probabilities, labels, indices, skipped = [], [], [], []
    for batch in track(loader, "evaluating", show_progress):
        skipped += batch.skipped
        if len(batch.labels):
            probabilities.append(engine(batch.images).softmax(-1))
            labels.append(batch.labels)
            indices.append(batch.indices)
    if not labels:
        raise MaxViTError(f"none of the {len(images)} images can be read; the first: {skipped[0]}")
    order = torch.cat(indices).argsort()  # batches come by size, answers in the order of the images
    return Evaluation(
        images.class_names,
        torch.cat(labels)[order].numpy(),
        torch.cat(probabilities)[order].numpy(),
        torch.cat(indices)[order].numpy(),
        skipped,
    )

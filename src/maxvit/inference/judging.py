"""Run a task's network over annotated images: figures, a table of classes, and answers to look at."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maxvit.config import Size
from maxvit.data.annotated import AnnotatedImages
from maxvit.data.loading import Batch, evaluation_batches
from maxvit.errors import MaxViTError
from maxvit.inference.engines import say
from maxvit.inference.portions import Portions
from maxvit.inference.precision import Arithmetic
from maxvit.inference.progress import track
from maxvit.layers.modes import evaluating
from maxvit.tasks import task_for
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.network import TaskNetwork
from maxvit.tasks.task import Answer, Target


@dataclass(frozen=True, slots=True)
class Judged:
    """An image that was kept to be looked at.

    Attributes:
        index: In the data set.
        size: (height, width) as decoded.
        answer: What the network says, in the task's own form.
        truth: What the annotation says, in the task's own form.
    """

    index: int
    size: Size
    answer: Answer
    truth: Target


@dataclass(frozen=True, slots=True)
class Judgement:
    """How good a network's answers are.

    Attributes:
        figures: By name, the most telling first.
        rows: A row a class.
        images: How many counted.
        skipped: A sentence for each image that could not be read, and does not count.
        kept: Some answers.
    """

    figures: dict[str, float]
    rows: list[dict[str, Any]]
    images: int
    skipped: list[str] = field(default_factory=list)
    kept: list[Judged] = field(default_factory=list)


def judge(
    network: TaskNetwork,
    images: AnnotatedImages,
    batch_size: int = 8,
    workers: int = 0,
    show_progress: bool = False,
    keep: int = 0,
    precision: str = "fp32",
) -> Judgement:
    """Compare a network's answers with the annotations.

    Args:
        network: It answers in evaluation mode, where it is, and is left in the mode that it was in.
        images: Of classes that the network has, as `Task.load_eval` gives them.
        batch_size: Images per forward.
        workers: Processes that decode.
        show_progress: Draw a bar on standard error.
        keep: How many answers to keep, of images spread evenly over the data set.
        precision: As for `choose_precision`.

    Raises:
        MaxViTError: If the classes are others, or no image can be read.
    """
    task = task_for(network)
    if list(images.class_names) != network.class_names:
        raise MaxViTError(
            f"the network's classes are {', '.join(network.class_names[:5])}, ..., the data's "
            f"{', '.join(images.class_names[:5])}, ...: evaluate on the classes that it was trained for"
        )
    metric, skipped, kept, count = task.metric(network.class_names), [], [], 0
    wanted = set(np.linspace(0, len(images) - 1, min(keep, len(images))).round().astype(int).tolist())
    device = next(network.parameters()).device
    portions, arithmetic = Portions(device, say), Arithmetic(precision, next(network.parameters()), say)

    def answer(images: Tensor, sizes: Sequence[Size]) -> list[Answer]:
        images = images.to(device)
        arithmetic.compare(network.maps, images)
        with arithmetic.autocast():
            return task.answers(network, images, sizes)

    def answer_all(images: Tensor, sizes: Sequence[Size]) -> list[Answer]:
        return [a for some in portions(lambda part: answer(images[part], sizes[part]), images) for a in some]

    loader = evaluation_batches(TaskExamples(task, images, network.preprocessing), batch_size, workers)
    with evaluating(network), torch.inference_mode():
        for batch in track(loader, "evaluating", show_progress):
            skipped += batch.skipped
            if not len(batch.labels):
                continue
            sizes, targets = _apart(batch)
            answers = answer_all(batch.images, sizes)
            metric.add(answers, targets)
            count += len(answers)
            rows = zip(batch.indices.tolist(), sizes, answers, targets, strict=True)
            kept += [Judged(*row) for row in rows if row[0] in wanted]
    if not count:
        raise MaxViTError(f"none of the {len(images)} images can be read" + (f": {skipped[0]}" if skipped else ""))
    return Judgement(metric.compute(), metric.rows(), count, skipped, sorted(kept, key=lambda item: item.index))


def _apart(batch: Batch) -> tuple[Sequence[Size], Sequence[Target]]:
    sizes, targets = zip(*batch.labels, strict=True)
    return sizes, targets

"""How much of a recipe fits into the time that a person has."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from maxvit.data.dataset import Splits
from maxvit.data.loading import Batch
from maxvit.training.distributed import Engine
from maxvit.training.learner import Learner
from maxvit.training.probe import MOST
from maxvit.training.recipe import Recipe

FEWEST = 4  # epochs, before images are left out
SMALLEST = 32  # of `data.limit`
SPARE = 0.85  # share of the time that is planned for: machines are busy at times
AT_LEAST_S, SHARE = 12.0, 0.05  # for the start and the report: seconds, or a share of all
PROBE_S = 3.0  # beside the embeddings
ENOUGH_S = 2.0  # of updates, to know how long one takes; the first does not count, as all gets ready in it,
LONG_S = 15.0  # unless it takes so long


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds for an image.

    Attributes:
        train: In training, loading included.
        val: In evaluation, loading included.
    """

    train: float
    val: float


def measure_speed(learner: Learner, engine: Engine, train: Iterable[Batch], val: Iterable[Batch]) -> Speed:
    """Take a few updates and evaluate a batch; the slowest process counts.

    Args:
        learner: It is of no use afterwards.
        engine: Where it computes.
        train: Training batches.
        val: Validation batches.
    """
    learner.train()
    images, first, began = 0, 0.0, time.perf_counter()
    for batch in train:
        learner.step(batch, turn=0, accumulate=1)
        learner.update()
        passed = time.perf_counter() - began
        if not first:  # caches, threads and kernels have got ready
            first, began, speed = passed, time.perf_counter(), passed / len(batch.targets)
        else:
            images += len(batch.targets)
            speed = passed / images
        if any(engine.gather(first > LONG_S or (passed > ENOUGH_S and images > 0))):
            break
    began = time.perf_counter()
    batch = next(iter(val))
    loaded = time.perf_counter() - began
    learner.begin_evaluation()
    for _ in range(2 if len(batch.targets) else 0):  # the first does not count here either
        began = time.perf_counter()
        learner.evaluate(batch)
    learner.end_evaluation()
    each = (loaded + time.perf_counter() - began) / max(1, len(batch.targets))
    train_s, val_s = (max(values) / engine.world for values in zip(*engine.gather((speed, each)), strict=True))
    return Speed(train_s, val_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """What fits into the time.

    Attributes:
        recipe: With its epochs, warm-up and `data.limit`.
        after: Seconds that are needed after the last epoch.
        said: What was decided, in a sentence.
    """

    recipe: Recipe
    after: float
    said: str


def plan_for(recipe: Recipe, speed: Speed, data: Splits, seconds: float) -> Plan:
    """As many epochs as there is time for, up to the recipe's; where four are too many, fewer images.

    A probe gives a checkpoint without any epoch: images are then left out where there is no time for the probe alone.

    Args:
        recipe: What is to be done.
        speed: As it was measured.
        data: All images.
        seconds: That are left.
    """
    start = max(AT_LEAST_S, SHARE * seconds)
    budget = SPARE * seconds - start
    usual, number = recipe.optimization.epochs, len(data.train)
    fewest = 0 if recipe.model.probe else min(FEWEST, usual)

    def after(limit: int) -> float:
        train, val = min(number, limit), min(len(data.val), limit // 4)
        test = val if data.test is None else min(len(data.test), limit // 4)
        return (test + min(train, MOST) + val) * speed.val

    def cost(epochs: int, limit: int) -> float:
        train, val = min(number, limit), min(len(data.val), limit // 4)
        probe = (min(train, MOST) + val) * speed.val + PROBE_S if recipe.model.probe else 0.0
        return probe + after(limit) + epochs * (train * speed.train + val * speed.val)

    limit = 4 * max(number, len(data.val), len(data.test or ()))
    if cost(fewest, limit) <= budget:
        each = cost(1, limit) - cost(0, limit)
        epochs = min(usual, int((budget - cost(0, limit)) / each))
        said = f"planned for the time: {epochs} of {usual} epochs"
        return Plan(_changed(recipe, epochs, None), start / 2 + after(limit), said)
    limit = max(SMALLEST, number)
    while limit > SMALLEST and cost(fewest, limit) > budget:
        limit = max(SMALLEST, int(0.9 * limit))
    drawn = f", with {limit:,} of {number:,} training images" if limit < number else ""
    said = f"planned for the time: {fewest} of {usual} epochs{drawn}"
    return Plan(_changed(recipe, fewest, limit), start / 2 + after(limit), said)


def _changed(recipe: Recipe, epochs: int, limit: int | None) -> Recipe:
    settings = recipe.optimization
    share = epochs / settings.epochs if settings.epochs else 1
    changes = {"epochs": epochs, "warmup_epochs": settings.warmup_epochs * share}
    optimization = settings.model_copy(update=changes)
    data = recipe.data if limit is None else recipe.data.model_copy(update={"limit": limit})
    return recipe.model_copy(update={"optimization": optimization, "data": data})

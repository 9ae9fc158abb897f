"""A first verdict within seconds: the last layer, fitted to the network as it is."""

import copy
from pathlib import Path

import torch
from torch import Tensor

from maxvit.data.dataset import LabelledImages, at_most
from maxvit.data.loading import evaluation_batches
from maxvit.errors import MaxViTError, say_missing
from maxvit.inference.engines import TorchEngine, predict_and_embed
from maxvit.inference.progress import counting
from maxvit.kernels.optimize import optimize
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.network import Network, backbone_of, with_backbone
from maxvit.tasks.protocols import Probe
from maxvit.tasks.task import Task
from maxvit.training.distributed import Engine
from maxvit.training.progress import ProgressBar
from maxvit.training.recipe import Recipe
from maxvit.training.suspicious_labels import write_suspicious

MOST = 20_000  # images that are looked at


def begin_with_probe(
    network: Network, task: Task, images: LabelledImages, recipe: Recipe, engine: Engine, bar: ProgressBar, run: Path
) -> list[str] | None:
    """Fit the last layer before training, where the recipe says so and it can be done; one process does it for all.

    Args:
        network: On the CPU; its last layer is changed.
        task: What the network is for, and how the layer is fitted.
        images: Those of training. At most 20,000 of them are looked at, drawn by the recipe's seed.
        recipe: Whether to, and how images are loaded.
        engine: Where to compute.
        bar: Where to say what is missing.
        run: The run folder, where labels that look wrong are written down.

    Returns:
        A sentence for each image that could not be read; None: there is no probe.

    Raises:
        MaxViTError: If there is none, and no training after it; or if too many images cannot be read.
    """
    probe = task.probe(images) if recipe.model.probe else None
    missing, skipped = list[str](), list[str]()

    def fit() -> None:
        assert probe is not None
        try:
            skipped.extend(_fit(network, probe, task, images, recipe, engine, bar.show, run))
        except ImportError as error:
            missing.append(f"it needs {say_missing(str(error.name))}")

    if probe is not None:
        engine.on_first(fit)
        missing = engine.gather(missing)[0]
        if not missing:
            if engine.world > 1:
                network.load_state_dict(engine.gather(network.state_dict() if engine.is_first else None)[0])
            return skipped
    obstacle = "the recipe has model.probe false"
    if recipe.model.probe:
        obstacle = missing[0] if missing else f"{task.name} has no probe for such labels"
    if not recipe.optimization.epochs:
        raise MaxViTError(
            f"no first verdict: {obstacle}; and optimization.epochs is 0, so that there is nothing else to do: ask for "
            "more with --epochs"
        )
    if recipe.model.probe:
        bar.say(f"no first verdict: {obstacle}")
    return None


def _fit(
    network: Network,
    probe: Probe,
    task: Task,
    images: LabelledImages,
    recipe: Recipe,
    engine: Engine,
    show_progress: bool,
    run: Path,
) -> list[str]:
    """A sentence for each image that could not be read. Raises `ImportError` if a library is missing."""
    images = at_most(images, MOST, recipe.seed)
    fast = with_backbone(copy.deepcopy(network), optimize(backbone_of(network)))
    embedder = TorchEngine(fast, engine.device, engine.precision, task)
    embeddings, targets, rows, skipped = list[Tensor](), list[Tensor](), list[int](), list[str]()
    examples, limit = TaskExamples(task, images, network.preprocessing), recipe.data.max_unreadable_fraction
    with counting("first look", len(images), show_progress) as advance:
        for batch in evaluation_batches(examples, recipe.data.batch_size, recipe.data.workers):
            if len(batch.indices):
                embeddings.append(predict_and_embed(embedder, batch.images, batch.sizes)[1])
                targets += list(batch.targets)
                rows += batch.indices.tolist()
            skipped += batch.skipped
            advance(len(targets) + len(skipped))
    if not targets or len(skipped) > limit * len(images):
        raise MaxViTError(
            f"more than data.max_unreadable_fraction ({limit:.0%}) of the images cannot be read; {len(skipped):,} of "
            f"{len(images):,}, the first: {skipped[0]}: mend them, or raise the limit"
        )
    write_suspicious(run, probe(network, torch.cat(embeddings), task.collate(targets)), images.subset(rows))
    return skipped

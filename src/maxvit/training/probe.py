"""A first verdict within seconds: the last layer, fitted to the network as it is."""

import copy

import numpy as np
import torch

from maxvit.data.dataset import LabelledImages
from maxvit.data.loading import evaluation_batches
from maxvit.inference.engines import TorchEngine, predict_and_embed
from maxvit.inference.progress import counting
from maxvit.kernels.optimize import optimize
from maxvit.tasks.examples import TaskExamples
from maxvit.tasks.network import Network, backbone_of, with_backbone
from maxvit.tasks.task import Task
from maxvit.training.distributed import Engine
from maxvit.training.recipe import Recipe

MOST = 20_000  # images that are looked at


def fit_probe(
    network: Network, task: Task, images: LabelledImages, recipe: Recipe, engine: Engine, show_progress: bool
) -> bool:
    """Fit the last layer of a network to its embeddings of training images; the first process does it for all.

    Args:
        network: On the CPU; its last layer is changed.
        task: Says how.
        images: Those of training. At most 20,000 of them are looked at, drawn by the recipe's seed.
        recipe: How images are loaded.
        engine: Where to compute.
        show_progress: Draw a bar on standard error.

    Returns:
        Whether there is such a way for the task and these images.

    Raises:
        ImportError: If a library is missing.
        MaxViTError: If none of the images can be read.
    """
    probe = task.probe(images)
    if probe is None:
        return False
    if engine.is_first:
        if len(images) > MOST:
            drawn = np.random.default_rng(recipe.seed).permutation(len(images))[:MOST]
            images = images.subset(np.sort(drawn).tolist())
        fast = with_backbone(copy.deepcopy(network), optimize(backbone_of(network)))
        embedder = TorchEngine(fast, engine.device, engine.precision, task)
        embeddings, targets = [], []
        examples, done = TaskExamples(task, images, network.preprocessing), 0
        with counting("first look", len(images), show_progress) as advance:
            for batch in evaluation_batches(examples, recipe.data.batch_size, recipe.data.workers):
                if len(batch.indices):
                    embeddings.append(predict_and_embed(embedder, batch.images, batch.sizes)[1])
                    targets += list(batch.targets)
                done += len(batch.indices) + len(batch.skipped_indices)
                advance(done)
        probe(network, torch.cat(embeddings), task.collate(targets))
    if engine.world > 1:
        network.load_state_dict(engine.gather(network.state_dict() if engine.is_first else None)[0])
    return True

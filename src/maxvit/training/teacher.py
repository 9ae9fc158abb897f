"""The teacher of a run: what another network learns from, beside labels."""

import hashlib
from typing import NamedTuple

import torch

from maxvit.errors import MaxViTError
from maxvit.tasks import load
from maxvit.tasks.network import Network
from maxvit.tasks.protocols import Distil
from maxvit.tasks.task import Task
from maxvit.training.recipe import Recipe


class Teacher(NamedTuple):
    """What a run knows of its teacher.

    Attributes:
        distil: How the network learns from it.
        digest: SHA-256 of its weights.
    """

    distil: Distil
    digest: str


def find_teacher(recipe: Recipe, task: Task, student: Network, device: torch.device) -> Teacher | None:
    """The teacher that a recipe names, on the device of training; None: it names none.

    Raises:
        MaxViTError: If it cannot be read, the network cannot learn from it, or there is no time to.
    """
    name = recipe.model.teacher
    if name is None:
        return None
    if not recipe.optimization.epochs:
        raise MaxViTError(f"optimization.epochs is 0, and model.teacher is {name}: train for an epoch, or leave it out")
    network = load(name)
    digest = hashlib.sha256()
    for tensor in network.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return Teacher(task.distil(network.to(device), student), digest.hexdigest())

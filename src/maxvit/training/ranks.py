"""Which process this is, among those that torchrun has started. Imports nothing heavy."""

import os
from typing import NamedTuple


class Processes(NamedTuple):
    """As the environment tells.

    Attributes:
        rank: Number of this process.
        world: Number of processes.
        local_world: How many of them run on this machine.
        restarts: How often torchrun has started them again.
        started: Whether torchrun has started this process at all.
    """

    rank: int = 0
    world: int = 1
    local_world: int = 1
    restarts: int = 0
    started: bool = False


def processes() -> Processes:
    """This process's place; alone, if torchrun did not start it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Processes()
    names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
    rank, world, local_world, restarts = (int(os.environ[name]) for name in names)
    return Processes(rank, world, local_world, restarts, started=True)

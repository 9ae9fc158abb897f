"""How many threads a machine has to give: a container's share of the CPUs counts, which PyTorch does not look at."""

import functools
import math
import os
from pathlib import Path

import torch

MOUNT, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


@functools.cache
def limit_threads() -> None:
    """Once, have PyTorch, and with it the native kernels, start no more threads than there are CPUs to run them.

    Whoever sets OMP_NUM_THREADS, or calls `torch.set_num_threads` later, has the last word.
    """
    cpus = usable_cpus()
    if "OMP_NUM_THREADS" not in os.environ and cpus < torch.get_num_threads():
        torch.set_num_threads(cpus)


def usable_cpus() -> int:
    """Those that this process may use: it may be bound to some, and its control groups may have a share of them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota(MOUNT, MEMBERSHIP)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def cpu_quota(mount: Path, membership: Path) -> float | None:
    """CPUs that the control groups of a process let it use at a time; None: all.

    Args:
        mount: Where control groups are seen, of the first version or the second.
        membership: The groups of the process, as /proc/self/cgroup.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:  # not Linux
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        place = mount / controllers
        group = place / path.lstrip("/")
        # in a container the path may be that of the host, and the group be seen as the root
        for folder in {place, group, *(each for each in group.parents if each.is_relative_to(place))}:
            quotas.append(_quota_of(folder))
    return min((quota for quota in quotas if quota is not None), default=None)


def _quota_of(group: Path) -> float | None:
    """That of one control group."""
    try:
        if (second := group / "cpu.max").is_file():
            quota, period = second.read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return None if quota == "max" or float(quota) <= 0 else float(quota) / float(period)
    except (OSError, ValueError):
        return None

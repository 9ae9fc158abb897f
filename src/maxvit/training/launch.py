"""Several processes on this machine, as torchrun starts them."""

import dataclasses
import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from maxvit.kernels.cpu.threads import usable_cpus

PATIENCE = 300  # seconds for the update under way and the state, after a signal


def launch(arguments: Sequence[str], devices: int, on_signal: int) -> int:
    """Run `maxvit` with these arguments in one process for each device, and wait.

    Args:
        arguments: What follows `maxvit`.
        devices: Number of processes.
        on_signal: The exit code after a signal other than Ctrl-C, which is passed on to all of them.

    Returns:
        The exit code: of the first process that failed, if one did.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cpus() // devices)))
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(PATIENCE))
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = signals = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    if hasattr(config, "signals_to_handle"):  # newer PyTorch
        config = dataclasses.replace(config, signals_to_handle=signals)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the processes speak for themselves
    try:
        elastic_launch(config, sys.executable)("-m", "maxvit", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f"error: process {rank} was ended by {name}; SIGKILL often means that memory was full", file=sys.stderr)
        return 1
    except SignalException as stop:
        return 130 if stop.sigval == signal.SIGINT else on_signal
    return 0

"""Devices, processes and precision: PyTorch's own torchrun, DDP and FSDP2."""

import contextlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from enum import IntFlag
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as states
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from maxvit.data.sampling import Share
from maxvit.errors import MaxViTError
from maxvit.inference.device import choose_device
from maxvit.inference.precision import autocast, choose_precision
from maxvit.layers.block import MaxViTBlock
from maxvit.training.ranks import processes
from maxvit.training.recipe import EngineSection

_WHOLE = states.StateDictOptions(full_state_dict=True, cpu_offload=True)

N = TypeVar("N", bound=nn.Module)


class Flag(IntFlag):
    """What a process has to tell the others after an update."""

    STOP = 1
    SAVE = 2
    DIVERGED = 4
    BROKEN = 8
    MEMORY = 16
    LATE = 32


class Engine:
    """This process among others, its device, and how they compute together.

    Args:
        settings: Settings of the recipe.
        device: As for `choose_device`.

    Attributes:
        rank: Number of this process.
        world: Number of processes; each has a device of its own.
        nodes: Machines that they run on.
        device: Device of this process.
        precision: What the recipe's means there.

    Raises:
        MaxViTError: If the settings need what is not there.
    """

    def __init__(self, settings: EngineSection, device: str = "auto") -> None:
        self.settings, started = settings, processes()
        self.device = choose_device(device, started.rank % started.local_world, started.local_world)
        on_gpu = self.device.type == "cuda"
        self.precision = choose_precision(settings.precision, self.device)
        if settings.sync_batch_norm and not on_gpu:
            raise MaxViTError("engine.sync_batch_norm needs GPUs: PyTorch has it for them alone; set it to false")
        self.rank, self.world = started.rank, started.world
        self.nodes = started.world // started.local_world
        self.sharded = settings.strategy == "fsdp2" and self.world > 1
        if self.sharded and self.precision == "fp16":
            raise MaxViTError("engine.precision is fp16, whose losses are not scaled with fsdp2: use bf16, fp32 or ddp")
        self._control: Any = None  # a process group
        if on_gpu:
            torch.cuda.set_device(self.device)
        if self.world > 1:
            if not dist.is_initialized():
                dist.init_process_group(device_id=self.device if on_gpu else None)
            self._control = dist.new_group(backend="gloo")  # needs no waiting for a GPU
            if len(set(self.gather(started.local_world))) > 1:
                raise MaxViTError("the machines have different numbers of processes: give each the same")

    def close(self) -> None:
        """Take leave of the other processes."""
        if dist.is_initialized():
            dist.destroy_process_group()

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and talks."""
        return self.rank == 0

    @property
    def tries_out(self) -> bool:
        """Whether processes share the work and can compute a step alone: they exchange nothing before its end."""
        return self.world > 1 and not self.sharded and not self.settings.sync_batch_norm

    def describe(self) -> str:
        """The devices, in words."""
        if self.device.type == "cuda":
            return f"{self.world} x {torch.cuda.get_device_name(self.device)}"
        if self.device.type == "mps":
            return "an Apple GPU"
        threads = torch.get_num_threads()
        return f"{f'{self.world} x ' * (self.world > 1)}{threads} CPU thread{'s' * (threads > 1)}"

    def share(self, batch_size: int, device_batch_size: int | None) -> Share:
        """This process's part of each batch.

        Raises:
            MaxViTError: If a batch has fewer images than parts.
        """
        accumulate = -(-batch_size // (self.world * (device_batch_size or batch_size)))
        if batch_size < self.world * accumulate:
            raise MaxViTError(f"data.batch_size is {batch_size} for {self.world} devices: give each an image at least")
        return Share(self.rank, self.world, accumulate, self.nodes)

    def place(self, network: N) -> N:
        """Move a network to the device, in the recipe's precision, and shard it if it is to be sharded."""
        network = network.to(self.device, torch.float64 if self.precision == "fp64" else None)
        if self.settings.sync_batch_norm and self.world > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network, self._norm_group())
        if self.sharded:
            mesh = init_device_mesh(self.device.type, (self.world,))
            for block in (m for m in network.modules() if isinstance(m, MaxViTBlock)):
                fully_shard(block, mesh=mesh)
            fully_shard(network, mesh=mesh)
        return network

    def wrap(self, module: nn.Module) -> nn.Module:
        """Exchange the gradients of a module that holds a placed network."""
        if self.world == 1 or self.sharded:
            return module
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*broadcast_buffers", category=FutureWarning)
            return DistributedDataParallel(module, broadcast_buffers=False, gradient_as_bucket_view=True)

    def accumulating(self, module: nn.Module, enabled: bool) -> AbstractContextManager[Any]:
        """Where gradients are not yet exchanged, as more will be added to them."""
        networks = [m for m in module.modules() if isinstance(m, FSDPModule)]
        for network in networks:
            network.set_requires_gradient_sync(not enabled)
        return module.no_sync() if enabled and isinstance(module, DistributedDataParallel) else contextlib.nullcontext()

    def autocast(self) -> AbstractContextManager[Any]:
        """Where the network computes in the precision."""
        return autocast(self.device, self.precision)

    def scaler(self) -> torch.amp.GradScaler:
        """What keeps small gradients from being lost in fp16; in other precisions it does nothing."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def agree(self, flags: Flag) -> Flag:
        """What any process has to tell, on all of them."""
        if self._control is None:
            return flags
        value = torch.tensor([int(flags)])
        dist.all_reduce(value, dist.ReduceOp.BOR, self._control)
        return Flag(int(value))

    def add_up(self, values: Tensor) -> Tensor:
        """The sum over all processes; of whole numbers it is exact."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """A small object of each process, on all of them."""
        if self._control is None:
            return [value]
        everything: list[Any] = [None] * self.world
        dist.all_gather_object(everything, value, self._control)
        return everything

    def on_first(self, act: Callable[[], object]) -> None:
        """Have the first process do something, such as writing a file; what keeps it from that ends all of them.

        Raises:
            MaxViTError: On all processes, if the first raised this or `OSError`.
        """
        problem = ""
        if self.is_first:
            try:
                act()
            except (MaxViTError, OSError) as error:
                problem = str(error)
        if problem := "".join(self.gather(problem)):
            raise MaxViTError(problem)

    @torch.no_grad()
    def average_statistics(self, network: nn.Module) -> None:
        """Give all processes the mean of the running statistics of batch norms, so that one state is that of all."""
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training]
        if self.world == 1 or not norms:
            return
        tensors = [t for norm in norms for t in (norm.running_mean, norm.running_var) if t is not None]
        together = torch.cat(tensors)
        dist.all_reduce(together)
        parts = (together / self.world).split([len(t) for t in tensors])
        torch._foreach_copy_(tensors, parts)

    def unshard(self, network: nn.Module) -> None:
        """Have all weights here until `release`, so that a process can compute without the others."""
        for part in (m for m in network.modules() if isinstance(m, FSDPModule)):
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()

    def release(self, network: nn.Module) -> None:
        """Keep only this process's part again."""
        for part in (m for m in network.modules() if isinstance(m, FSDPModule)):
            part.reshard()

    def state_of(self, network: nn.Module, optimizer: Optimizer | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Whole state of a network and its optimiser by name of parameter, on the CPU; with shards on the first only.

        All processes must call it. An optimiser that has done nothing has no state: asked for it, PyTorch would take a
        step with it.
        """
        weights = states.get_model_state_dict(network, options=_WHOLE)
        if optimizer is None or not optimizer.state:
            return weights, {}
        return weights, states.get_optimizer_state_dict(network, optimizer, options=_WHOLE)

    def set_state(
        self, network: nn.Module, weights: Mapping[str, Any], optimizer: Optimizer | None = None, moments: Any = None
    ) -> None:
        """Undo `state_of`. All processes must call it, with the same values."""
        states.set_model_state_dict(network, dict(weights), options=_WHOLE)
        if optimizer is not None and not moments:
            optimizer.state.clear()
        elif optimizer is not None:
            states.set_optimizer_state_dict(network, optimizer, moments, options=_WHOLE)

    def _norm_group(self) -> Any:
        size = self.settings.sync_batch_norm
        if size is True:
            return None
        if self.world % size:
            raise MaxViTError(f"engine.sync_batch_norm is {size}, which does not divide {self.world} devices")
        groups = [dist.new_group(list(range(start, start + size))) for start in range(0, self.world, size)]
        return groups[self.rank // size]


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether another process has ended in the middle of an exchange."""
    return any(words in str(error) for words in ("closed by peer", "reset by peer", "NCCL", "gloo"))

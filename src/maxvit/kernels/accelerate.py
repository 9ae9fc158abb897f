"""`maxvit.accelerate`: the network for training, with the same parameters, in less time and memory."""

import copy
import ctypes
import functools
import warnings
from types import ModuleType
from typing import Literal, get_args

from maxvit.errors import MaxViTError
from maxvit.kernels.comparison import BLAME, step_difference
from maxvit.kernels.cpu import training as native
from maxvit.kernels.folding import is_optimized
from maxvit.kernels.gpu import support
from maxvit.kernels.known import either, layer_change, untouched
from maxvit.layers.sharing import made_by_hooks
from maxvit.model import MaxViT, check_network

TrainingBackend = Literal["native", "triton"]
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def accelerate(model: MaxViT, *, backend: TrainingBackend = "native", graphs: bool = False) -> MaxViT:
    """The same network for training, on kernels that compute again in backward what is cheap.

    Parameters and running statistics are those of `model`: training one trains the other, until one is moved, converted
    or given a new classifier. In evaluation and where parameters are frozen its layers compute as those of `model` do.

    Args:
        model: Where the kernels cannot be used it comes back as it is, with a warning that says why.
        backend: "native": on the CPU, in float32 without autocast; from this call on the process keeps the memory that
            it frees, for the tensors of the next step. "triton": on an NVIDIA GPU, in float32, bfloat16 or float16 or
            under autocast, also with `DistributedDataParallel` and `torch.compile`.
        graphs: Run forward and backward of each block as a CUDA graph, for batches of the first one's shape; with
            "triton". Not tried on a GPU yet.

    Returns:
        The network to call in training; what is saved and evaluated is `model`.

    Raises:
        MaxViTError: If it is not a network of this package, or the backend is unknown or has no graphs.
    """
    check_network(model)
    if graphs and backend != "triton":
        raise MaxViTError(f"graphs is True and backend is {backend!r}: CUDA graphs need backend='triton'")
    if reason := obstacle(model, backend):
        warnings.warn(f"the network is trained by plain PyTorch: {reason}", stacklevel=2)
        return model
    if backend == "native":
        _keep_freed_memory()
    kernels = _kernels(backend)
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())} | made_by_hooks(model)
    fast = copy.deepcopy(model, shared)
    forwards = {
        name: forward
        for name, part in untouched(model.config).items()
        for kind, forward in kernels.FORWARDS.items()
        if isinstance(part, kind)
    }
    left: list[str] = []
    for name, forward in forwards.items():
        if reason := layer_change(model, name):
            left.append(reason)
            continue
        layer = fast.get_submodule(name)
        if reason := step_difference(layer, forward):
            left.append(f"of {name} {reason}; {BLAME}")
        else:
            layer.forward = functools.partial(either, kernels.serves, forward, layer)
    if left:
        what = "the network is" if len(left) == len(forwards) else f"{len(left)} of {len(forwards)} layers are"
        warnings.warn(f"{what} trained by plain PyTorch: {left[0]}", stacklevel=2)
    if len(left) == len(forwards):
        return model
    if graphs:
        from maxvit.kernels.gpu.step_graphs import StepGraphs

        StepGraphs(fast)
    return fast


def obstacle(model: MaxViT, backend: TrainingBackend = "native") -> str:
    """Why kernels cannot train a network, in a few words; nothing where they can.

    Raises:
        MaxViTError: If the backend is unknown.
    """
    if backend not in get_args(TrainingBackend):
        raise MaxViTError(f"backend is {backend!r}; choose {' or '.join(get_args(TrainingBackend))}")
    if is_optimized(model):
        return "it is optimised, and can only compute"
    return native.obstacle(model) if backend == "native" else support.obstacle(model)


def _kernels(backend: TrainingBackend) -> ModuleType:
    """Each has `FORWARDS`, of the kinds of layers that it computes, and `serves`."""
    if backend == "native":
        return native
    from maxvit.kernels.gpu import training  # imports Triton

    return training


def _keep_freed_memory() -> None:
    """Have this process keep what it frees, for the next tensor; does nothing where the C library is not glibc.

    By itself glibc gives every large block back to the system at once, and each page of the next one is cleared and
    mapped again: a tenth of a training step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)

"""`maxvit.accelerate`: the network for training, with the same parameters, in less time and memory."""

import copy
import functools
import warnings
from types import ModuleType
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from maxvit.errors import MaxViTError
from maxvit.kernels import training as native
from maxvit.kernels.allocator import keep_freed_memory
from maxvit.kernels.folding import is_optimized
from maxvit.kernels.gpu import support
from maxvit.model import MaxViT

TrainingBackend = Literal["native", "triton"]


def accelerate(model: MaxViT, *, backend: TrainingBackend = "native") -> MaxViT:
    """The same network for training, on kernels that compute again in backward what is cheap.

    Parameters and running statistics are those of `model`: training one trains the other, until one is moved, converted
    or given a new classifier. In evaluation and where parameters are frozen its layers compute as those of `model` do.

    Args:
        model: Where the kernels cannot be used it comes back as it is, with a warning that says why.
        backend: "native": on the CPU, in float32 without autocast; from this call on the process keeps the memory that
            it frees, for the tensors of the next step. "triton": on an NVIDIA GPU, in float32, bfloat16 or float16 or
            under autocast, also with `DistributedDataParallel` and `torch.compile`.

    Returns:
        The network to call in training; what is saved and evaluated is `model`.

    Raises:
        MaxViTError: If the backend is unknown.
    """
    if reason := obstacle(model, backend):
        warnings.warn(f"the network is trained by plain PyTorch: {reason}", stacklevel=2)
        return model
    if backend == "native":
        keep_freed_memory()
    kinds = _kernels(backend).FORWARDS
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    fast = copy.deepcopy(model, shared)
    for layer in fast.modules():
        for kind in kinds:
            if isinstance(layer, kind):
                layer.forward = functools.partial(_either, backend, kind, layer)
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


def _either(backend: TrainingBackend, kind: type[nn.Module], layer: nn.Module, x: Tensor) -> Tensor:
    """The fast way while training, the layer's own otherwise."""
    kernels = _kernels(backend)
    fast = torch.is_grad_enabled() and kernels.serves(layer, x)
    fast = fast and all(m.training for m in layer.modules()) and all(p.requires_grad for p in layer.parameters())
    result: Tensor = kernels.FORWARDS[kind](layer, x) if fast else type(layer).forward(layer, x)
    return result

"""A copy of a network that takes no memory of its own."""

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def sharing_copy(module: M) -> M:
    """A copy whose tensors are in the memory of the original's, for use while that does not change.

    Another type, another device, mode or `requires_grad` of the copy, and parameters put in place of others, are its
    own.
    """
    memo: dict[int, object] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    memo |= {id(b): b.detach() for b in module.buffers()}
    return copy.deepcopy(module, memo | made_by_hooks(module))


def made_by_hooks(module: nn.Module) -> dict[int, Any]:
    """What hooks such as spectral norm's make of parameters in each forward, for `copy.deepcopy`, which refuses it."""
    kept = (x for part in module.modules() for x in vars(part).values() if isinstance(x, Tensor))
    return {id(x): x.detach() for x in kept if not x.is_leaf}

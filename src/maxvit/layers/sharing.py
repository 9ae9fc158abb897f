"""A copy of a network that takes no memory of its own."""

import copy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def sharing_copy(module: M) -> M:
    """A copy whose tensors lie in the memory of the original's, for use while that does not change.

    Another type, another device, mode or `requires_grad` of the copy, and parameters put in place of others, are its
    own.
    """
    memo: dict[int, object] = {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in module.parameters()}
    memo |= {id(b): b.detach() for b in module.buffers()}
    return copy.deepcopy(module, memo)

"""Gradient checkpointing of a block: keep its input, and compute the rest again in backward."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module, x: Tensor) -> Tensor:
    """Run a block without keeping its activations; backward runs it again, counting batch statistics once."""
    if torch.compiler.is_compiling():  # what is computed again there is pure: it takes statistics in by itself, once
        return checkpoint(block, x, use_reentrant=False)
    contexts: Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]] = partial(
        lambda b: (nullcontext(), _statistics_untouched(b)), block
    )
    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _statistics_untouched(block: nn.Module) -> Iterator[None]:
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(m.momentum, m.num_batches_tracked.clone()) for m in norms if m.num_batches_tracked is not None]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)  # type: ignore[union-attr]

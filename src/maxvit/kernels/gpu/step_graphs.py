"""Blocks in training as CUDA graphs: forward and backward of each are a launch, and the card waits for no Python.

Blocks and not the step, so that what is between them stays PyTorch's: gradients are added up, and averaged by
`DistributedDataParallel`, as without graphs. Stochastic depth draws anew in each replay. Nothing in a block reads from
the card, which a test asserts. It has not run on a card yet.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from maxvit.model import MaxViT

Forward = Callable[[Tensor], Tensor]


class StepGraphs:
    """The blocks of a network, captured at the first batch that they train with.

    Batches of other shapes, evaluation, frozen layers and gradient checkpointing are computed as without graphs. The
    backward of a batch must come before the forward of the next one, whose activations lie in the same memory.

    Args:
        network: On the kernels; its blocks' forwards are replaced.
    """

    def __init__(self, network: MaxViT) -> None:
        self.network = network
        self.blocks: list[nn.Module] = [block for stage in network.stages for block in stage.children()]
        self.plain: list[Forward] = [block.forward for block in self.blocks]
        self.graphed: list[Forward] = []
        self.keys: list[object] = []  # of what each is captured for
        for number, block in enumerate(self.blocks):
            block.forward = functools.partial(self._forward, number)

    def _forward(self, number: int, x: Tensor) -> Tensor:
        if not self._can(self.blocks[number], x):
            return self.plain[number](x)
        if number == 0 and not self.graphed:
            self._capture(x)
        same = bool(self.graphed) and self.keys[number] == _key(x)
        return (self.graphed if same else self.plain)[number](x)

    def _can(self, block: nn.Module, x: Tensor) -> bool:
        trains = torch.is_grad_enabled() and all(m.training for m in block.modules())
        trains = trains and on_card(x) and len(x) > 0 and all(p.requires_grad for p in block.parameters())
        kept = not any(getattr(stage, "gradient_checkpointing", False) for stage in self.network.stages)
        return trains and kept and not torch.compiler.is_compiling()

    def _capture(self, x: Tensor) -> None:
        """Capture all blocks in one pool of memory; statistics and random numbers are left as they were."""
        kind = x.device.type
        before = [buffer.clone() for block in self.blocks for buffer in block.buffers()]
        dtype, enabled = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        inputs = []
        with torch.random.fork_rng([x.device] if x.is_cuda else []), torch.autocast(kind, dtype, enabled, False):
            y = x.detach()
            with torch.no_grad():
                for number, block in enumerate(self.blocks):
                    inputs.append(torch.empty_like(y).requires_grad_(x.requires_grad or number > 0))
                    self.keys.append(_key(y))
                    block.forward = self.plain[number]
                    y = block(y)
            torch.cuda.make_graphed_callables(tuple(self.blocks), tuple((x,) for x in inputs))
        for number, block in enumerate(self.blocks):
            self.graphed.append(block.forward)
            block.forward = functools.partial(self._forward, number)
            for parameter in block.parameters():
                parameter.register_hook(torch.clone)  # a replay writes over the gradient that the last one gave
        for buffer, kept in zip((b for block in self.blocks for b in block.buffers()), before, strict=True):
            buffer.copy_(kept)


def on_card(x: Tensor) -> bool:
    """Whether a tensor is where graphs are."""
    return x.is_cuda


def _key(x: Tensor) -> object:
    kind = x.device.type
    autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    return x.shape, x.dtype, x.device, autocast

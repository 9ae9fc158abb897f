"""How many calls of PyTorch's dispatcher a layer takes in training: each is microseconds, in which a GPU may wait."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.interpreter import GridExecutor

from maxvit.kernels.gpu.mbconv_training import mbconv
from maxvit.kernels.gpu.support import HOST_FUNCTIONS
from maxvit.kernels.gpu.training import attention_layer
from maxvit.layers.mbconv import MBConv
from maxvit.layers.multiaxis import BlockAttention


class Calls(TorchDispatchMode):
    """Counts calls, also those that our operators make."""

    def __init__(self) -> None:
        super().__init__()
        self.made: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.made[func._schema.name] += 1
        function = HOST_FUNCTIONS.get(func._schema.name)
        if function is None:
            return func(*args, **(kwargs or {}))
        with self:
            return function(*args)


@pytest.mark.skipif(torch.cuda.is_available(), reason="nothing is launched: it needs the interpreter")
@pytest.mark.parametrize(
    ("make", "forward", "most"),
    [
        (lambda: MBConv(16, 16), mbconv, 112),
        (lambda: BlockAttention(16, (2, 2), head_dim=16), attention_layer, 104),
    ],
    ids=["MBConv", "attention"],
)
def test_a_layer_takes_few_calls_forward_and_backward(monkeypatch, make, forward, most):
    monkeypatch.setattr(GridExecutor, "__call__", lambda *_, **__: None)
    layer, x = make().train(), torch.randn(2, 16, 4, 4).to(memory_format=torch.channels_last)
    x = x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), Calls() as calls:
        y: Tensor = forward(layer, x)
        torch.autograd.grad(y, [x, *layer.parameters()], torch.empty_like(y))
    assert sum(calls.made.values()) <= most, calls.made.most_common()

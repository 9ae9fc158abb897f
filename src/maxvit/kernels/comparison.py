"""One step of a layer by kernels, compared with the same step in PyTorch before the kernels are used."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from maxvit.model import Stem

BLAME = "if you edited MaxViT's own layers, that is why; if not, please report your processor and compiler"
SHAPE = (2, 3, 4)  # images, height and width of the map
NEAR = 1e-3  # allowed difference of a tensor over its own size: float32 gives 1e-6 to 1e-4
NOISE = 1e-4  # and over the largest of its kind: some gradients and means are sums that cancel, and only rounding


def step_difference(layer: nn.Module, forward: Callable[[nn.Module, Tensor], Tensor]) -> str:
    """What kernels compute otherwise than the layer, in a few words; nothing where they agree in all that a step finds.

    Args:
        layer: It is left as it is, statistics and random numbers too. In half precision, a copy in float32 is compared.
        forward: By the kernels.
    """
    channels = layer.conv1.in_channels if isinstance(layer, Stem) else len(next(layer.parameters()))
    random = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE[0], channels, *SHAPE[1:], generator=random).to(next(layer.parameters()).device)
    with torch.inference_mode(False), torch.enable_grad(), whole_floats(), torch.autocast(x.device.type, enabled=False):
        expected = _step(layer, type(layer).forward, x)
        try:
            found = _step(layer, forward, x)
        except RuntimeError as error:
            return f"the kernels fail ({str(error).splitlines()[0]})"
    for kind, tensors in expected.items():
        noise = NOISE * max((float(t.norm()) for t in tensors.values()), default=0.0)
        for name, tensor in tensors.items():
            same = found[kind][name].shape == tensor.shape
            off = float((found[kind][name] - tensor).norm()) if same else torch.inf
            if not off <= NEAR * float(tensor.norm()) + noise and tensor.isfinite().all():
                return f"the kernels compute another {kind} {name}".rstrip()
    return ""


def _step(layer: nn.Module, forward: Callable[[nn.Module, Tensor], Tensor], x: Tensor) -> dict[str, dict[str, Tensor]]:
    """Answer, gradients and statistics of a copy of the layer, by kind and name."""
    weights: dict[int, object] = {id(p): nn.Parameter(p.detach()) for p in layer.parameters()}  # in the same memory
    layer = copy.deepcopy(layer, weights).float().train()
    inputs = {"input": x.clone().requires_grad_(), **dict(layer.named_parameters())}
    with torch.random.fork_rng([x.device] if x.is_cuda else []):
        torch.manual_seed(0)  # of stochastic depth
        answer = forward(layer, inputs["input"])
    slope = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1)).to(x.device)
    gradients = torch.autograd.grad(answer, list(inputs.values()), slope, allow_unused=True)
    missing = torch.tensor(torch.nan)
    found = {n: missing if g is None else g for n, g in zip(inputs, gradients, strict=True)}
    statistics = {n: b for n, b in layer.named_buffers() if b.is_floating_point()}
    counts = {n: b.double() for n, b in layer.named_buffers() if not b.is_floating_point()}
    return {"answer": {"": answer.detach()}, "gradient of": found, "statistic": statistics, "count": counts}


@contextmanager
def whole_floats() -> Iterator[None]:
    """Products of float32 in float32, where a GPU or oneDNN would round what it multiplies."""
    cuda, cudnn, onednn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    settings: list[tuple[Callable[[Any], None], Any, Any]]  # of each: what sets it, what it was, what is exact
    if hasattr(cuda.matmul, "fp32_precision"):
        backends = (cuda.matmul, cudnn.conv, onednn.matmul)  # type: ignore[attr-defined]
        settings = [(partial(setattr, b, "fp32_precision"), b.fp32_precision, "ieee") for b in backends]
    else:  # PyTorch 2.8
        products = (torch.set_float32_matmul_precision, torch.get_float32_matmul_precision(), "highest")
        settings = [products, (partial(setattr, cudnn, "allow_tf32"), cudnn.allow_tf32, False)]
    for change, _, exact in settings:
        change(exact)
    try:
        yield
    finally:
        for change, before, _ in settings:
            change(before)

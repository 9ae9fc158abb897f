"""What must hold before a time counts: the same bits in every run, and answers and gradients near those in float64.

No kernel uses atomics, so a run that differs from another is a race, of the compiler's or of ours. Errors are of the
root mean square, beside those of plain PyTorch in the same types.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from gpu_setting import Cell, Result, Setting
from gpu_timing import difference
from torch import Tensor, nn

import maxvit
from maxvit.kernels.gpu.mbconv_training import mbconv
from maxvit.model import MaxViT

Step = dict[str, Tensor]  # results and gradients, by name
RUNS, STEPS, JUDGED = 20, 5, 4  # inferences, steps, and images whose answers float64 judges


def exact_cells() -> Iterator[Cell]:
    """Networks in inference; MBConv with a stride and whole networks in training."""
    for variant, side, batch in (("tiny", 224, 64), ("tiny", 512, 8), ("base", 384, 8), ("tiny", 232, 16)):
        yield Cell(f"inference, {variant} {side}", partial(_inference, variant, side, batch), seconds=6.0)
    for stage in (2, 1, 3, 4):
        yield Cell(f"MBConv, strided, training, stage {stage}", partial(_strided, stage), seconds=2.0)
    for autocast in (True, False):
        what = "autocast" if autocast else "float32"
        yield Cell(f"training, tiny 224, {what}", partial(_training, autocast), seconds=8.0)


def _network(variant: str, side: int, setting: Setting) -> MaxViT:
    """With random weights and statistics that are not those of a new network."""
    torch.manual_seed(0)
    network = MaxViT(setting.config(f"maxvit_{variant}", side)).to(setting.device)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("table"):
                tensor.normal_()
            elif name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
    return network


def _images(network: MaxViT, batch: int, setting: Setting) -> Tensor:
    random = torch.Generator().manual_seed(1)
    images = torch.randn(setting.batch(batch), 3, *network.config.image_size, generator=random)
    return images.to(setting.device, memory_format=torch.channels_last)


def _inference(variant: str, side: int, batch: int, setting: Setting, deadline: float) -> Result:
    network = _network(variant, side, setting).eval()
    images = _images(network, batch, setting)
    with torch.inference_mode():
        exact = copy.deepcopy(network).double()(images[:JUDGED].double())
        low, given = network.to(setting.dtype), images.to(setting.dtype)
        plain = low(given[:JUDGED])
        fast = maxvit.optimize(low, backend="triton")
        first = fast(given).clone()
        same = all(torch.equal(first, fast(given)) for _ in range(setting.times(RUNS)))
    return {"same_bits": same} | _errors({"logits": first[:JUDGED]}, {"logits": plain}, {"logits": exact})


def _strided(stage: int, setting: Setting, deadline: float) -> Result:
    layer = _network("tiny", 224, setting).train().stages[stage - 1][0].mbconv  # type: ignore[index, union-attr]
    side, batch = setting.config("maxvit_tiny", 224).image_size[0] // 2**stage, setting.batch(32)
    layer.drop_path.rate = 0.0
    random = torch.Generator().manual_seed(1)
    x = torch.randn(batch, layer.expand.in_channels, side, side, generator=random).to(setting.device)
    x = x.to(memory_format=torch.channels_last)

    def step(layer: nn.Module, forward: Callable[[nn.Module, Tensor], Tensor], x: Tensor, low: bool) -> Step:
        leaf = x.clone().requires_grad_()
        with setting.autocast(low):
            y = forward(layer, leaf.to(setting.dtype) if low else leaf)
        slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.device, y.dtype)
        names, parameters = zip(*layer.named_parameters(), strict=True)
        found = torch.autograd.grad(y, [leaf, *parameters], slope)
        return {"answer": y.detach(), **dict(zip(("x", *names), found, strict=True))}

    exact = step(copy.deepcopy(layer).double(), nn.Module.__call__, x.double(), low=False)
    plain = step(copy.deepcopy(layer), nn.Module.__call__, x, low=True)
    return _compared(lambda: step(copy.deepcopy(layer), mbconv, x, low=True), plain, exact, setting)


def _training(autocast: bool, setting: Setting, deadline: float) -> Result:
    network = _network("tiny", 224, setting).train()
    for part in network.modules():
        if isinstance(part, maxvit.layers.drop_path.DropPath):
            part.rate = 0.0
    images = _images(network, 8, setting)
    labels = torch.arange(len(images), device=setting.device)

    def step(called: MaxViT, owner: MaxViT, images: Tensor, low: bool) -> Step:
        owner.zero_grad(set_to_none=True)
        with setting.autocast(low):
            logits = called(images)
        F.cross_entropy(logits.float() if low else logits, labels).backward()
        gradients = {n: p.grad for n, p in owner.named_parameters() if p.grad is not None}
        return {"logits": logits.detach(), **gradients}

    twin = copy.deepcopy(network).double()
    exact = step(twin, twin, images.double(), low=False)
    twin = copy.deepcopy(network)
    plain = step(twin, twin, images, low=autocast)
    fast = maxvit.accelerate(network, backend="triton")
    return _compared(lambda: step(fast, network, images, low=autocast), plain, exact, setting)


def _compared(step: Callable[[], Step], plain: Step, exact: Step, setting: Setting) -> Result:
    first = step()
    again = [step() for _ in range(setting.times(STEPS))]
    same = all(torch.equal(first[name], other[name]) for other in again for name in first)
    return {"same_bits": same} | _errors(first, plain, exact)


def _errors(ours: Step, plain: Step, exact: Step) -> Result:
    """The error of the first result, and those of what is the furthest off, beside plain PyTorch's."""
    answer = next(iter(exact))
    off = {n: [difference((found[n],), (exact[n],)) for found in (ours, plain)] for n in exact}
    # A gradient that is 0 but for rounding says nothing: those before a batch norm.
    real = {n: pair for n, pair in off.items() if pair[1] < 0.5}
    worst = sorted(real, key=lambda n: real[n][0] / max(real[n][1], 1e-9), reverse=True)[:5]
    return {"error": off[answer][0], "plain_error": off[answer][1], "worst": {name: real[name] for name in worst}}

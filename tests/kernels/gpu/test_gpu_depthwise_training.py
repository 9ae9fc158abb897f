"""The depthwise convolution of the Triton kernels in training: norm, GELU and convolution, and all their gradients."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from budget import TYPES, check
from torch import Tensor, nn

from maxvit.config import OFFICIAL
from maxvit.kernels.gpu import strips
from maxvit.kernels.gpu.depthwise_training import depthwise, norm_depthwise
from maxvit.kernels.gpu.statistics import statistics
from maxvit.layers.mbconv import SameConv2d

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # a sigmoid of 0, as on a GPU


def plain(x: Tensor, weight: Tensor, bias: Tensor, kernel: Tensor, act: str, stride: int, symmetric: bool) -> Tensor:
    dialect = replace(OFFICIAL, padding="symmetric") if symmetric else OFFICIAL
    part = SameConv2d(kernel.shape[0], kernel.shape[0], stride, kernel.shape[0], False, dialect)
    y = F.batch_norm(x.permute(0, 3, 1, 2), None, None, weight, bias, True, 0.0, 1e-3)
    y = F.gelu(y, approximate="none" if act == "erf" else "tanh")
    return torch.func.functional_call(part, {"weight": kernel}, y).permute(0, 2, 3, 1)


def compare(device, shape, dtype, act, stride, symmetric):
    channels = shape[3]
    inputs = [torch.randn(shape), torch.rand(channels) + 0.5, torch.randn(channels), torch.randn(channels, 1, 3, 3)]

    def ours(x: Tensor, weight: Tensor, bias: Tensor, kernel: Tensor) -> Tensor:
        found = statistics(x, nn.BatchNorm2d(channels, eps=1e-3, device=device))
        return norm_depthwise(x, weight, bias, found, kernel, act, stride, symmetric)

    check(ours, lambda *t: plain(*t, act, stride, symmetric), [t.to(device) for t in inputs], dtype)


@pytest.mark.parametrize(("act", "stride", "symmetric"), [("tanh", 1, False), ("erf", 2, True), ("tanh", 2, False)])
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((2, 5, 7, 11), torch.float32),
        ((2, 4, 6, 3), torch.float32),
        ((3, 1, 1, 5), torch.float32),
        ((2, 7, 2, 37), torch.bfloat16),
        ((2, 4, 3, 5), torch.float16),
    ],
    ids=str,
)
def test_it_is_norm_gelu_and_convolution(device, shape, dtype, act, stride, symmetric):
    compare(device, shape, dtype, act, stride, symmetric)


@pytest.mark.parametrize(
    ("shape", "stride", "symmetric"), [((1, 9, 17, 3), 1, False), ((2, 9, 4, 3), 2, True)], ids=str
)
def test_programs_go_through_several_strips(device, monkeypatch, shape, stride, symmetric):
    """A strip ends above another, whose gradients it needs."""
    monkeypatch.setattr(strips, "PROGRAMS", 2)
    monkeypatch.setattr(strips, "ROWS", 4)
    compare(device, shape, torch.float32, "tanh", stride, symmetric)


@pytest.mark.full
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("act", ["tanh", "erf"])
@pytest.mark.parametrize(("stride", "symmetric"), [(1, False), (2, True), (2, False)])
@pytest.mark.parametrize(
    "shape", [(1, 37, 18, 3), (1, 33, 3, 65), (2, 17, 67, 3), (5, 2, 1, 96), (1, 56, 28, 7)], ids=str
)
def test_maps_of_many_sizes(device, shape, dtype, act, stride, symmetric):
    compare(device, shape, dtype, act, stride, symmetric)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_empty_batch_has_an_empty_result(device, stride):
    part, norm = SameConv2d(5, 5, stride, 5, False).to(device), nn.BatchNorm2d(5, device=device)
    x = torch.randn(0, 3, 4, 5, device=device, requires_grad=True)
    y = depthwise(part, x, norm.weight, norm.bias, statistics(x, norm), "tanh")
    grads = torch.autograd.grad(y.sum(), [x, norm.weight, norm.bias, part.weight])
    assert y.shape == (0, -(-3 // stride), 4 // stride, 5)
    assert all(not grad.any() for grad in grads)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # `opcheck` looks at that of its clones
@pytest.mark.full
def test_the_operator_keeps_pytorchs_rules(device):
    norm, x = nn.BatchNorm2d(5, device=device), torch.randn(2, 3, 4, 5, device=device, requires_grad=True)
    kernel = torch.randn(5, 1, 3, 3, device=device, requires_grad=True)
    torch.library.opcheck(
        norm_depthwise.overload, (x, norm.weight, norm.bias, statistics(x, norm), kernel, "tanh", 2, False)
    )

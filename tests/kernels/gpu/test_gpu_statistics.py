"""Batch norm in training, by the Triton kernels: statistics, results and gradients are those of `nn.BatchNorm2d`."""

import copy

import pytest
import torch
import torch.nn.functional as F
from budget import TYPES, check, error
from torch import Tensor, nn

from maxvit.kernels.gpu import maps
from maxvit.kernels.gpu.normalization import normalize, normalized
from maxvit.kernels.gpu.statistics import statistics

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # a sigmoid of 0, as on a GPU
SHAPES = [(3, 5, 7, 11), (2, 1, 1, 67), (1, 17, 13, 3)]  # the last needs several tiles


def make(channels: int, device: torch.device, momentum: float | None = 0.01) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum).to(device)
    for tensor in (norm.weight.data, norm.running_var):
        tensor.uniform_(0.5, 1.5)
    for tensor in (norm.bias.data, norm.running_mean):
        tensor.normal_()
    return norm


@pytest.fixture
def few_programs(monkeypatch):
    """Each program has several tiles to go through, as on a large map."""
    monkeypatch.setattr(maps, "PROGRAMS", 3)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("mean", [0, 100])
def test_no_digits_of_the_statistics_are_lost(device, few_programs, shape, dtype, mean):
    x = (torch.randn(shape, device=device) + mean).to(dtype)
    exact = x.double().flatten(0, 2)
    found = statistics(x, make(shape[3], device))
    inverse = (exact.var(0, correction=0) + 1e-3).rsqrt()
    last = torch.finfo(torch.float32).eps  # of the summed numbers, which are about 1 where their mean is about 0
    torch.testing.assert_close(found.double(), torch.stack([exact.mean(0), inverse]), rtol=5e-7, atol=2 * last)


@pytest.mark.parametrize("momentum", [0.01, None])
def test_running_statistics_are_those_of_batch_norm(device, momentum):
    norm = make(11, device, momentum)
    exact = copy.deepcopy(norm).double()
    for _ in range(3):
        x = torch.randn(3, 5, 7, 11, device=device) * 2 + 1
        statistics(x, norm)
        exact(x.double().permute(0, 3, 1, 2))
    assert norm.num_batches_tracked == 3
    torch.testing.assert_close(norm.running_mean.double(), exact.running_mean, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, rtol=1e-6, atol=1e-7)


def test_a_norm_need_not_track(device):
    x, norm = torch.randn(2, 3, 5, 7, device=device), nn.BatchNorm2d(7, track_running_stats=False, device=device)
    torch.testing.assert_close(normalize(x, norm), norm(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def test_one_value_is_no_batch(device):
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        statistics(torch.randn(1, 1, 1, 5, device=device), make(5, device))


def test_an_empty_batch_has_an_empty_result(device):
    norm = make(5, device)
    before, x = norm.running_mean.clone(), torch.randn(0, 2, 3, 5, device=device, requires_grad=True)
    y = normalize(x, norm)
    grads = torch.autograd.grad(y.sum(), [x, norm.weight, norm.bias])
    assert y.shape == x.shape
    assert all(not grad.any() for grad in grads)
    assert torch.equal(norm.running_mean, before)


def plain(x: Tensor, weight: Tensor, bias: Tensor, act: str) -> Tensor:
    y = F.batch_norm(x.permute(0, 3, 1, 2), None, None, weight, bias, True, 0.0, 1e-3).permute(0, 2, 3, 1)
    return y if act == "none" else F.gelu(y, approximate="none" if act == "erf" else "tanh")


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("act", ["none", "tanh", "erf"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_batch_norm_and_gelu(device, few_programs, shape, act, dtype):
    inputs = [torch.randn(shape, device=device), torch.rand(shape[3], device=device) + 0.5, torch.randn(shape[3])]
    inputs[2] = inputs[2].to(device)

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return normalized(x, weight, bias, statistics(x, make(shape[3], device)), act)

    check(ours, lambda x, w, b: plain(x, w, b, act), inputs, dtype)


def test_a_large_mean_does_no_harm(device):
    """The mean itself is known to half of a unit in the last place: 4e-6 of the deviation."""
    x, norm = torch.randn(3, 5, 7, 11, device=device) + 100, make(11, device)
    exact = plain(x.double(), norm.weight.double(), norm.bias.double(), "tanh").detach()
    assert error(normalize(x, norm, nn.GELU(approximate="tanh")).detach(), exact) < 1e-5


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # `opcheck` looks at that of its clones
def test_the_operators_keep_pytorchs_rules(device):
    norm, x = make(7, device), torch.randn(2, 3, 5, 7, device=device, requires_grad=True)
    torch.library.opcheck(normalized.overload, (x, norm.weight, norm.bias, statistics(x, norm), "tanh"))

"""GELU by the GPU's own tanh, which is off by 2^-11: the error budget of 16-bit types has room for it."""

import pytest
import torch
import torch.nn.functional as F
from budget import check
from torch import Tensor, nn

from maxvit.kernels.gpu import activation
from maxvit.kernels.gpu.activation import constant
from maxvit.kernels.gpu.depthwise import filtered
from maxvit.kernels.gpu.depthwise_training import depthwise
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.normalization import normalize
from maxvit.kernels.gpu.product import activated
from maxvit.kernels.gpu.statistics import statistics
from maxvit.layers.mbconv import SameConv2d

LOW = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(activation, "interpreted", lambda: False)


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


@pytest.mark.parametrize(
    ("dtype", "act", "expected"),
    [
        (torch.bfloat16, "tanh", "approximate"),
        (torch.float16, "tanh", "approximate"),
        (torch.float32, "tanh", "tanh"),
        (torch.bfloat16, "erf", "erf"),
        (torch.bfloat16, "none", "none"),
    ],
    ids=str,
)
def test_the_instruction_serves_the_tanh_formula_in_16_bits_alone(monkeypatch, dtype, act, expected):
    x = torch.empty(2, dtype=dtype)
    assert constant(x, act) == expected
    monkeypatch.setattr(activation, "interpreted", lambda: True)
    assert constant(x, act) == act


@LOW
def test_it_is_what_the_kernels_of_inference_compute(device, dtype):
    x, weight, bias = 3 * torch.randn(2, 3, 5, 16), torch.randn(40, 16) / 4, torch.randn(40)
    inputs = [t.to(device) for t in (x, weight, bias)]
    check(lambda *t: activated(*t, False), lambda *t: gelu(F.linear(*t)), inputs, dtype, gradients=False)

    def conv(x: Tensor, taps: Tensor, bias: Tensor) -> Tensor:
        y = F.conv2d(x.permute(0, 3, 1, 2), taps.t().unflatten(1, (1, 3, 3)), bias, padding=1, groups=16)
        return gelu(y).permute(0, 2, 3, 1)

    inputs = [t.to(device) for t in (x, torch.randn(9, 16) / 3, torch.randn(16))]
    check(lambda *t: filtered(*t, 1, False, False)[0], conv, inputs, dtype, gradients=False)


@LOW
def test_it_is_what_the_kernels_of_training_compute(device, dtype):
    x, w1, w2 = torch.randn(2, 3, 5, 16), torch.randn(64, 16) / 4, torch.randn(16, 64) / 8
    vectors = torch.rand(16) + 0.5, torch.randn(16)
    inputs = [t.to(device) for t in (x, *vectors, w1, torch.randn(64), w2, torch.randn(16))]

    def branch(*t: Tensor) -> Tensor:
        return t[0] + F.linear(gelu(F.linear(F.layer_norm(t[0], (16,), t[1], t[2]), t[3], t[4])), t[5], t[6])

    check(lambda *t: feedforward(*t, None, 1e-5, False), branch, inputs, dtype)

    def norm(x: Tensor) -> Tensor:
        return F.batch_norm(x.permute(0, 3, 1, 2), None, None, None, None, True, 0.0, 1e-5)

    layer, part = nn.BatchNorm2d(16, device=device), SameConv2d(16, 16, 1, 16, False).to(device)
    act = nn.GELU(approximate="tanh")
    check(lambda x: normalize(x, layer, act), lambda x: gelu(norm(x)).permute(0, 2, 3, 1), inputs[:1], dtype)

    def conv(x: Tensor) -> Tensor:
        y = F.conv2d(gelu(norm(x)), part.weight.to(x.dtype), padding=1, groups=16)
        return y.permute(0, 2, 3, 1)

    check(lambda x: depthwise(part, x, layer.weight, layer.bias, statistics(x, layer), "tanh"), conv, inputs[:1], dtype)

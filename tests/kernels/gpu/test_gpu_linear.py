"""Linear layers with norm, scale and residual, and the feed-forward branch: the layers' own numbers and gradients."""

import pytest
import torch
import torch.nn.functional as F
from budget import TYPES, check
from torch import Tensor

from maxvit.kernels.gpu import product
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.layer_norm import layer_norm
from maxvit.kernels.gpu.linear import normed_linear
from maxvit.kernels.gpu.product import activated, projected

EPSILON = 1e-5


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(("shape", "out"), [((2, 7, 11, 24), 72), ((1, 3, 5, 130), 67), ((3, 2, 1, 64), 192)], ids=str)
def test_a_norm_and_the_linear_layer_after_it(device, dtype, shape, out):
    c = shape[-1]
    inputs = [torch.randn(*shape) * 2 + 3, torch.rand(c) + 0.5, torch.randn(c), torch.randn(out, c) / c**0.5]
    inputs = [t.to(device) for t in (*inputs, torch.randn(out))]

    def plain(x: Tensor, gamma: Tensor, beta: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(F.layer_norm(x, (c,), gamma, beta, EPSILON), weight, bias)

    check(lambda *t: normed_linear(*t, EPSILON), plain, inputs, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(2, 7, 11, 24), (1, 3, 5, 2050), (3, 1, 1, 512), (0, 2, 2, 8)], ids=str)
def test_a_norm_by_itself(device, dtype, shape):
    c = shape[-1]
    inputs = [t.to(device) for t in (torch.randn(*shape) * 2 + 3, torch.rand(c) + 0.5, torch.randn(c))]

    def plain(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.layer_norm(x, (c,), gamma, beta, EPSILON)

    if not shape[0]:
        assert layer_norm(*inputs, EPSILON).shape == shape
        return
    check(lambda *t: layer_norm(*t, EPSILON), plain, inputs, dtype, gradients=False)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(("shape", "out"), [((2, 7, 11, 72), 24), ((3, 5, 5, 96), 270), ((1, 1, 1, 3), 17)], ids=str)
def test_a_scaled_map_is_projected_and_added(device, dtype, scaled, shape, out):
    c = shape[-1]
    inputs = [torch.randn(*shape), torch.rand(shape[0], c), torch.randn(out, c) / c**0.5, torch.randn(out)]
    inputs = [t.to(device) for t in (*inputs, torch.randn(*shape[:3], out))]

    def plain(x: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return residual + F.linear(x * scale[:, None, None] if scaled else x, weight, bias)

    def ours(x: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
        return projected(x, scale if scaled else None, weight, bias, residual)

    check(ours, plain, inputs, dtype, gradients=False)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("erf", [False, True], ids=["tanh", "erf"])
def test_a_linear_layer_and_the_gelu_after_it(device, dtype, erf):
    inputs = [t.to(device) for t in (torch.randn(2, 5, 7, 70), torch.randn(270, 70) / 70**0.5, torch.randn(270))]

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.gelu(F.linear(x, weight, bias), approximate="none" if erf else "tanh")

    check(lambda *t: activated(*t, erf), plain, inputs, dtype, gradients=False)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("erf", [False, True], ids=["tanh", "erf"])
@pytest.mark.parametrize(("shape", "hidden"), [((3, 5, 7, 24), 96), ((2, 9, 8, 70), 130), ((1, 1, 1, 16), 40)], ids=str)
def test_the_feed_forward_branch(device, dtype, erf, shape, hidden):
    c = shape[-1]
    inputs = [torch.randn(*shape), torch.rand(c) + 0.5, torch.randn(c), torch.randn(hidden, c) / c**0.5]
    inputs += [torch.randn(hidden), torch.randn(c, hidden) / hidden**0.5, torch.randn(c)]
    inputs = [t.to(device) for t in inputs]
    scale = torch.tensor([1.25, 0.0, 2.0], device=device)[: shape[0]]

    def plain(x: Tensor, gamma: Tensor, beta: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        y = F.gelu(F.linear(F.layer_norm(x, (c,), gamma, beta, EPSILON), w1, b1), approximate="none" if erf else "tanh")
        return x + scale[:, None, None, None].to(x.dtype) * F.linear(y, w2, b2)

    check(lambda *t: feedforward(*t, scale, EPSILON, erf), plain, inputs, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("c", [24, 136], ids=["one kernel", "wider"])
def test_the_feed_forward_branch_where_no_image_is_dropped(device, dtype, c):
    shapes = [(2, 3, 5, c), (c,), (c,), (40, c), (40,), (c, 40), (c,)]
    inputs = [torch.randn(shape, device=device) / (shape[-1] ** 0.5 if len(shape) == 2 else 1) for shape in shapes]

    def plain(x: Tensor, gamma: Tensor, beta: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        y = F.layer_norm(x, (c,), gamma, beta, EPSILON)
        return x + F.linear(F.gelu(F.linear(y, w1, b1), approximate="tanh"), w2, b2)

    check(lambda *t: feedforward(*t, None, EPSILON, False), plain, inputs, dtype)


@pytest.mark.parametrize(
    ("place", "c", "erf", "vendor"),
    [("meta", 192, False, True), ("meta", 191, False, False), ("meta", 192, True, False), ("cpu", 192, False, False)],
)
def test_the_vendors_product_takes_wide_rows_and_the_tanh_formula_on_a_gpu(place, c, erf, vendor):
    assert product._by_vendor(torch.empty(1, 2, 2, c, device=place), erf) == vendor


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a CPU PyTorch has the erf formula there")
def test_the_vendors_product_is_given_what_ours_is(monkeypatch):
    inputs = [torch.randn(2, 3, 5, 24), torch.randn(40, 24) / 5, torch.randn(40)]
    ours = activated(*inputs, True)
    monkeypatch.setattr(product, "_by_vendor", lambda *_: True)
    torch.testing.assert_close(activated(*inputs, False), ours)


def test_autocast_changes_nothing_inside_an_operator(device):
    """Where PyTorch computes a part of it, as for rows that are too wide for one kernel."""
    c = 270
    inputs = [torch.randn(*shape, device=device) for shape in [(2, 3, 5, c), (c,), (c,), (96, c), (96,), (c, 96), (c,)]]
    scale = torch.tensor([1.25, 0.0], device=device)
    alone = feedforward(*inputs, scale, EPSILON, False)
    with torch.autocast(device.type, torch.bfloat16):
        assert torch.equal(feedforward(*inputs, scale, EPSILON, False), alone)


@pytest.mark.parametrize("wide", [1, 10**6])
def test_tiles_of_either_width_hold_all_columns(device, monkeypatch, wide):
    monkeypatch.setattr(product, "FEWEST_WIDE", wide)
    inputs = [t.to(device) for t in (torch.randn(2, 5, 7, 40), torch.randn(256, 40) / 6, torch.randn(256))]
    check(lambda *t: activated(*t, True), lambda *t: F.gelu(F.linear(*t)), inputs, torch.float32, gradients=False)
    assert product.tile(70, 256, 4)[1] == (128 if wide == 1 else 64)

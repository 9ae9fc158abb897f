"""The kernels at the sizes of the paper's networks, on a GPU."""

import copy

import pytest
import torch
import torch.nn.functional as F
from budget import FLOOR, check, error
from test_gpu_attention import plain
from torch import Tensor

import healthy
from maxvit import MaxViT, accelerate, optimize
from maxvit.config import VARIANTS
from maxvit.kernels.folding import fold_for_inference
from maxvit.kernels.gpu.attention import group_attention
from maxvit.kernels.gpu.attention_inference import group_attention_fixed, padded
from maxvit.kernels.gpu.feedforward import feedforward
from maxvit.kernels.gpu.linear import normed_linear
from maxvit.kernels.gpu.mbconv import TritonMBConv
from maxvit.layers.mbconv import MBConv
from one_step import step

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
EPSILON = 1e-5
ALL = [torch.float32, torch.bfloat16, torch.float16]
STAGES = [(64, 56), (128, 28), (256, 14), (512, 7), (96, 56), (192, 28)]
WINDOWS = [*((c, side, 7) for c, side in STAGES), (64, 96, 12), (64, 128, 16), (64, 100, 7)]


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("channels", "side", "window"), WINDOWS)
def test_attention(device, dtype, axis, channels, side, window):
    heads, tokens, size = channels // 32, window**2, (window, window)
    inputs = [torch.randn(5, side, side, 3 * channels), torch.randn(heads, tokens, tokens)]
    inputs = [t.to(device) for t in inputs]
    check(lambda x, b: group_attention(x, b, size, axis)[0], lambda x, b: plain(x, b, size, axis), inputs, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("channels", "side", "window"), WINDOWS[:-1])
def test_attention_in_inference(device, dtype, axis, channels, side, window):
    heads, tokens, size = channels // 32, window**2, (window, window)
    inputs = [torch.randn(5, side, side, 3 * channels), torch.randn(heads, tokens, tokens)]
    check(
        lambda x, b: group_attention_fixed(x, padded(b), size, axis),
        lambda x, b: plain(x, b, size, axis),
        [t.to(device) for t in inputs],
        dtype,
        gradients=False,
    )


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize(("c", "side"), STAGES)
def test_norm_and_linear_then_feed_forward(device, dtype, c, side):
    shapes = [(5, side, side, c), (c,), (c,), (4 * c, c), (4 * c,), (c, 4 * c), (c,)]
    inputs = [torch.randn(shape, device=device) / (shape[-1] ** 0.5 if len(shape) == 2 else 1) for shape in shapes]

    def norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return F.layer_norm(x, (c,), gamma, beta, EPSILON)

    check(lambda *t: normed_linear(*t, EPSILON), lambda *t: F.linear(norm(*t[:3]), *t[3:]), inputs[:5], dtype)

    def branch(*t: Tensor) -> Tensor:
        return t[0] + F.linear(F.gelu(F.linear(norm(*t[:3]), *t[3:5]), approximate="tanh"), *t[5:])

    check(lambda *t: feedforward(*t, None, EPSILON, False), branch, inputs, dtype)


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("c", "side"), STAGES)
def test_mbconv_in_inference(device, dtype, stride, c, side):
    network = MaxViT(VARIANTS["maxvit_micro"])
    network.stages[0][0].mbconv = MBConv(c if stride == 1 else max(64, c // 2), c, stride)
    part = fold_for_inference(healthy.fill(network)).stages[0][0].mbconv.to(device)
    x = torch.randn(5, part.expand.in_channels, side * stride, side * stride, device=device)

    def run(function, x):
        layer = copy.deepcopy(part).to(x.dtype)
        return function(layer, x.contiguous(memory_format=torch.channels_last))

    ours = lambda x: run(lambda layer, x: TritonMBConv(layer)(x), x).permute(0, 3, 1, 2)  # noqa: E731
    check(ours, lambda x: run(lambda layer, x: layer(x), x), [x], dtype, gradients=False)


@pytest.mark.parametrize("dtype", ALL, ids=str)
@pytest.mark.parametrize("hw", [(224, 224), (300, 417)])
@pytest.mark.parametrize("name", ["maxvit_tiny", "maxvit_base"])
def test_the_whole_network(device, dtype, hw, name):
    model = healthy.fill(MaxViT(VARIANTS[name])).to(device, dtype).eval()
    images = torch.randn(8, 3, *hw, device=device, dtype=dtype)
    with torch.inference_mode():
        truth = copy.deepcopy(model).double()(images.double())
        allowed = 2 * error(model(images), truth) + FLOOR[dtype] * 4
        assert error(optimize(model, backend="triton")(images), truth) <= allowed


@pytest.mark.parametrize("autocast", [False, True])
def test_a_step_of_maxvit_tiny(device, autocast):
    model = healthy.fill(MaxViT(VARIANTS["maxvit_tiny"])).to(device).train()
    images = torch.randn(8, 3, 224, 224, device=device)
    truth = step(copy.deepcopy(model).double(), images.double())
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        plain_step = step(copy.deepcopy(model), images)
        ours = step(accelerate(model, backend="triton"), images)
    floor = 2**-6 if autocast else 2e-5
    off = {n: (error(ours[n].float(), truth[n]), error(plain_step[n].float(), truth[n])) for n in truth}
    assert {n: pair for n, pair in off.items() if pair[0] > 3 * pair[1] + floor} == {}

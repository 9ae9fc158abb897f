"""Squeeze-and-excite by the Triton kernels: the layer's own scale, of a mean that comes in parts."""

import pytest
import torch
import torch.nn.functional as F
from budget import TYPES, check
from torch import Tensor

from maxvit.kernels.gpu.squeeze import excited


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    ("images", "parts", "channels", "squeezed"),
    [(3, 1, 24, 2), (2, 3, 70, 17), (17, 2, 530, 5), (1, 19, 130, 3)],
)
def test_it_is_the_layers_scale(device, dtype, images, parts, channels, squeezed):
    shares = torch.randn(images, parts, channels, device=device) / parts
    inputs = [torch.randn(squeezed, channels) / channels**0.5, torch.randn(squeezed)]
    inputs += [torch.randn(channels, squeezed) / squeezed**0.5, torch.randn(channels)]

    def plain(reduce: Tensor, reduce_bias: Tensor, expand: Tensor, expand_bias: Tensor) -> Tensor:
        mean = shares.double().sum(1).to(reduce.dtype)
        return F.linear(F.silu(F.linear(mean, reduce, reduce_bias)), expand, expand_bias).sigmoid()

    check(lambda *t: excited(shares, *t), plain, [t.to(device) for t in inputs], dtype, gradients=False)


@pytest.mark.full
def test_compilers_are_told_the_right_shape(device):
    shapes = [(2, 3, 24), (5, 24), (5,), (24, 5), (24,)]
    torch.library.opcheck(excited.overload, tuple(torch.randn(shape, device=device) for shape in shapes))


def test_no_image_has_no_scale(device):
    shapes = [(0, 3, 24), (5, 24), (5,), (24, 5), (24,)]
    assert excited(*(torch.empty(shape, device=device) for shape in shapes)).shape == (0, 24)

"""The projection of a strided MBConv with its pooled shortcut: the layers' own sum, on maps of any sides."""

import copy

import pytest
import torch
import torch.nn.functional as F
from budget import TYPES, check
from torch import Tensor

import healthy
from maxvit.config import OFFICIAL, TORCHVISION
from maxvit.kernels.gpu.shortcut import projected_pooled
from maxvit.layers.mbconv import Shortcut


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION], ids=["2x2", "3x3"])
@pytest.mark.parametrize(
    ("batch", "hw", "inner", "inputs", "out"),
    [
        (2, (7, 12), 24, 5, 40),  # an odd side
        (3, (1, 2), 70, 40, 17),  # several images in a tile; two tiles of inputs
        (2, (23, 25), 8, 16, 130),  # several tiles of rows and columns, of more than one image
    ],
    ids=str,
)
def test_it_is_the_projection_and_the_shortcut(device, dtype, dialect, batch, hw, inner, inputs, out):
    shortcut = healthy.fill(Shortcut(inputs, out, 2, dialect)).requires_grad_(False).to(device)
    down, along = (-(-side // 2) for side in hw)
    given = [torch.randn(batch, down, along, inner), torch.rand(batch, inner), torch.randn(out, inner) / inner**0.5]
    given = [t.to(device) for t in (*given, torch.randn(out), torch.randn(batch, *hw, inputs))]

    def plain(hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        pooled = copy.deepcopy(shortcut).to(dtype).to(x.dtype)(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return F.linear(hidden * scale[:, None, None], weight, bias) + pooled

    def ours(hidden: Tensor, scale: Tensor, weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
        conv = copy.deepcopy(shortcut.conv).to(x.dtype)
        bias = (bias.float() + conv.bias.float()).to(x.dtype)
        return projected_pooled(hidden, scale, weight, bias, x, conv.weight.flatten(1), shortcut.wide)

    check(ours, plain, given, dtype, gradients=False)


@pytest.mark.full
def test_compilers_are_told_the_right_shape(device):
    shapes = [(2, 2, 3, 24), (2, 24), (8, 24), (8,), (2, 3, 6, 5), (8, 5)]
    torch.library.opcheck(projected_pooled.overload, (*(torch.randn(shape, device=device) for shape in shapes), False))

"""The stem by the Triton kernel: the layer's own map, of any image in any memory format."""

import copy

import pytest
import torch
from budget import TYPES, check
from torch import Tensor, nn

import healthy
from maxvit.config import OFFICIAL, TORCHVISION
from maxvit.kernels.gpu.stem import convolved, filters
from maxvit.layers.mbconv import SameConv2d

DIALECTS = pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION], ids=["official", "torchvision"])


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@DIALECTS
@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((2, 3, 7, 12), 24),
        ((1, 5, 6, 3), 70),  # more taps and more channels than a tile
        ((2, 1, 1, 259), 8),  # more columns than a tile
    ],
    ids=str,
)
def test_its_first_convolution_is_the_layers(device, dtype, dialect, shape, channels):
    conv = healthy.fill(SameConv2d(shape[1], channels, stride=2, dialect=dialect)).to(device)
    act = nn.GELU("none" if dialect.gelu == "erf" else "tanh")
    facts = dialect.padding == "symmetric", dialect.gelu == "erf"

    def plain(x: Tensor) -> Tensor:
        return act(copy.deepcopy(conv).to(dtype).to(x.dtype)(x)).permute(0, 2, 3, 1).detach()

    def ours(x: Tensor) -> Tensor:
        low = copy.deepcopy(conv).to(x.dtype)
        return convolved(x, filters(low.weight.detach()), low.bias.detach(), *facts)

    x = torch.randn(shape, device=device)
    check(ours, plain, [x], dtype, gradients=False)
    check(ours, plain, [x.to(memory_format=torch.channels_last)], dtype, gradients=False)


def test_no_image_gives_no_map(device):
    given = (torch.empty(shape, device=device) for shape in [(0, 3, 5, 4), (8, 32), (8,)])
    assert convolved(*given, False, False).shape == (0, 3, 2, 8)


@pytest.mark.full
def test_compilers_are_told_the_right_shape(device):
    given = torch.randn(2, 3, 5, 4, device=device), torch.randn(8, 32, device=device), torch.randn(8, device=device)
    torch.library.opcheck(convolved.overload, (*given, False, False))

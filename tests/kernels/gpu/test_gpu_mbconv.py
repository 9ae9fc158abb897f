"""MBConv by the Triton kernels for inference: the layer's own map, and the mean of its hidden one, on any map."""

import copy
from collections.abc import Callable

import pytest
import torch
from budget import TYPES, check
from torch import Tensor, nn

import healthy
from maxvit.config import OFFICIAL, TORCHVISION, Dialect
from maxvit.kernels.gpu.depthwise import filtered, rows_of_program
from maxvit.kernels.gpu.mbconv import TritonMBConv
from maxvit.layers.mbconv import MBConv

DIALECTS = [pytest.param(OFFICIAL, id="official"), pytest.param(TORCHVISION, id="torchvision")]
Results = tuple[Tensor, Tensor]


def folded(in_channels: int, channels: int, stride: int, dialect: Dialect) -> MBConv:
    """A layer whose convolutions have biases in place of norms."""
    part = MBConv(in_channels, channels, stride, expansion=2, dialect=dialect)
    for conv in (part.expand, part.depthwise):
        conv.bias = nn.Parameter(torch.empty(conv.out_channels))
    part.pre_norm = part.expand_norm = part.depthwise_norm = nn.Identity()
    return healthy.fill(part).requires_grad_(False)


def check_both(ours: Callable[..., Results], plain: Callable[..., Results], x: Tensor, dtype: torch.dtype) -> None:
    """Both results are within the budget."""
    with torch.no_grad():
        found = ours(x.to(dtype))
        assert found[1].dtype == torch.float32
        found = found[0], found[1].sum(1)
        for i in range(2):
            check(lambda _, i=i: found[i].to(dtype), lambda x, i=i: plain(x)[i], [x], dtype, gradients=False)


def arguments(part: MBConv, dtype: torch.dtype) -> Results:
    """Taps and bias of the filter."""
    depthwise = copy.deepcopy(part.depthwise).to(dtype)
    return depthwise.weight.flatten(1).t(), depthwise.bias


def facts(stride: int, dialect: Dialect) -> tuple[int, bool, bool]:
    return stride, dialect.padding == "symmetric", dialect.gelu == "erf"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    ("batch", "hw", "channels"),
    [
        (2, (7, 3), 24),
        (1, (5, 9), 72),  # more channels than a tile holds, and more rows and columns
        (2, (6, 7), 40),  # padding differs by side
        (2, (17, 3), 8),  # several bands of rows, of which the last is lower
        (3, (1, 1), 16),
        (1, (2, 1), 64),
    ],
    ids=str,
)
def test_filtered_is_the_layers_depthwise_convolution_and_its_mean(device, dtype, dialect, stride, batch, hw, channels):
    part = folded(3, channels // 2, stride, dialect).to(device)

    def plain(hidden: Tensor) -> Results:
        low = copy.deepcopy(part).to(dtype).to(hidden.dtype)
        y = low.act(low.depthwise(hidden.permute(0, 3, 1, 2)))
        return y.permute(0, 2, 3, 1), y.mean((2, 3))

    hidden = torch.randn(batch, *hw, channels, device=device)
    check_both(lambda h: filtered(h, *arguments(part, dtype), *facts(stride, dialect)), plain, hidden, dtype)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(("stride", "channels"), [(1, 24), (2, 24), (2, 20)])
def test_the_layer_is_its_own(device, dtype, dialect, stride, channels):
    """With a shortcut that is pooled, that is projected too, and that is the map itself."""
    part = folded(24, channels, stride, dialect).to(device)
    x = torch.randn(2, 24, 5, 8, device=device)

    def plain(x: Tensor) -> Tensor:
        return copy.deepcopy(part).to(dtype).to(x.dtype)(x).permute(0, 2, 3, 1)

    check(lambda x: TritonMBConv(copy.deepcopy(part).to(x.dtype))(x), plain, [x], dtype, gradients=False)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_taps_and_bias_may_be_float32(device, dtype):
    part = folded(8, 12, 1, OFFICIAL).to(device)
    hidden = torch.randn(1, 4, 5, 24, device=device).to(dtype)
    y = part.act(part.depthwise(hidden.float().permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    found, shares = filtered(hidden, *arguments(part, torch.float32), 1, False, False)
    assert torch.allclose(found.float(), y, atol=0.03)
    assert torch.allclose(shares.sum(1), y.mean((1, 2)), atol=0.01)


def test_no_image_gives_no_image(device):
    part = folded(8, 12, 2, OFFICIAL).to(device)
    y, shares = filtered(torch.empty(0, 5, 4, 24, device=device), *arguments(part, torch.float32), 2, False, False)
    assert (y.shape, shares.shape[::2]) == ((0, 3, 2, 24), (0, 24))
    assert TritonMBConv(part)(torch.empty(0, 8, 5, 4, device=device)).shape == (0, 3, 2, 12)


@pytest.mark.parametrize("stride", [1, 2])
def test_compilers_are_told_the_right_shapes(device, stride):
    part = folded(8, 12, stride, OFFICIAL).to(device, torch.float16)
    hidden = torch.randn(2, 5, 4, 24, device=device).half()
    torch.library.opcheck(filtered.overload, (hidden, *arguments(part, torch.float16), stride, False, False))


def test_a_program_has_many_rows_where_there_are_enough_programs():
    assert rows_of_program(56, 2048, 512) == 56
    assert rows_of_program(56, 1, 512) == 7
    assert rows_of_program(1, 1, 512) == 1
    assert rows_of_program(56, 0, 512) == 7


@pytest.mark.full
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 14, 15, 17, 33])
@pytest.mark.parametrize("height", [1, 2, 7, 15])
def test_any_map(device, stride, dialect, height, width):
    part, x = folded(6, 10, stride, dialect).to(device), torch.randn(2, 6, height, width, device=device)
    plain = lambda x: copy.deepcopy(part).to(x.dtype)(x).permute(0, 2, 3, 1)  # noqa: E731
    check(TritonMBConv(part), plain, [x], x.dtype, gradients=False)

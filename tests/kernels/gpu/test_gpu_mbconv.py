"""MBConv's hidden map by the Triton kernels: that of the layers, and its mean, on any map."""

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from budget import TYPES, check
from torch import Tensor, nn

import healthy
from maxvit.config import OFFICIAL, TORCHVISION, Dialect
from maxvit.kernels.gpu.depthwise import filtered, rows_of_program
from maxvit.kernels.gpu.expand import expanded_filtered, strip
from maxvit.kernels.gpu.mbconv import hidden_map
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


def of_layer(part: MBConv, x: Tensor) -> Results:
    """The definition, by the layer's own parts in the type of x."""
    part = copy.deepcopy(part).to(x.dtype)
    y = part.act(part.depthwise(part.act(part.expand(x.permute(0, 3, 1, 2)))))
    return y.permute(0, 2, 3, 1), y.mean((2, 3))


def check_both(ours: Callable[..., Results], plain: Callable[..., Results], x: Tensor, dtype: torch.dtype) -> None:
    """Both results are within the budget."""
    with torch.no_grad():
        found = ours(x.to(dtype))
        assert found[1].dtype == torch.float32
        for i in range(2):
            check(lambda _, i=i: found[i].to(dtype), lambda x, i=i: plain(x)[i], [x], dtype, gradients=False)


def arguments(part: MBConv, dtype: torch.dtype) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Weight and bias of the expansion, taps and bias of the filter."""
    part = copy.deepcopy(part).to(dtype)
    expand, depthwise = part.expand, part.depthwise
    return (expand.weight.flatten(1), expand.bias), (depthwise.weight.flatten(1).t(), depthwise.bias)


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
    check_both(lambda h: filtered(h, *arguments(part, dtype)[1], *facts(stride, dialect)), plain, hidden, dtype)


def check_expanded(part: MBConv, x: Tensor, dtype: torch.dtype, stride: int, dialect: Dialect) -> None:
    expansion, filter_ = arguments(part, dtype)
    check_both(
        lambda x: expanded_filtered(x, *expansion, *filter_, *facts(stride, dialect)),
        lambda x: of_layer(copy.deepcopy(part).to(dtype), x),
        x,
        dtype,
    )


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(
    ("batch", "hw", "in_channels", "channels"),
    [
        (1, (8, 5), 24, 34),  # two bands of rows at stride 1; more hidden channels than a tile holds
        (2, (3, 33), 5, 8),  # two strips of columns at stride 1
        (1, (2, 64), 16, 7),  # and at stride 2
        (2, (1, 1), 33, 12),
        (1, (15, 1), 64, 8),  # bands at stride 2
    ],
    ids=str,
)
def test_expanded_filtered_is_that_of_the_expanded_map(
    device, dtype, dialect, stride, batch, hw, in_channels, channels
):
    part = folded(in_channels, channels, stride, dialect).to(device)
    check_expanded(part, torch.randn(batch, *hw, in_channels, device=device), dtype, stride, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_the_hidden_map_is_the_layers(device, dtype, dialect, stride):
    part = folded(24, 20, stride, dialect).to(device, dtype)
    x = torch.randn(2, 5, 8, 24, device=device)
    check_both(lambda x: hidden_map(part, x), lambda x: of_layer(part, x), x, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_taps_and_biases_may_be_float32(device, dtype):
    part = folded(8, 12, 1, OFFICIAL).to(device)
    (weight, bias), filter_ = arguments(part, torch.float32)
    x = torch.randn(1, 4, 5, 8, device=device).to(dtype)
    for given, exact in zip(
        expanded_filtered(x, weight.to(dtype), bias, *filter_, 1, False, False), of_layer(part, x.float()), strict=True
    ):
        assert torch.allclose(given.float(), exact, atol=0.03)


def test_no_image_gives_no_image(device):
    part = folded(8, 12, 2, OFFICIAL).to(device)
    expansion, filter_ = arguments(part, torch.float32)
    of_x = expanded_filtered(torch.empty(0, 5, 4, 8, device=device), *expansion, *filter_, 2, False, False)
    of_hidden = filtered(torch.empty(0, 5, 4, 24, device=device), *filter_, 2, False, False)
    for y, mean in (of_x, of_hidden):
        assert (y.shape, mean.shape) == ((0, 3, 2, 24), (0, 24))


@pytest.mark.parametrize("stride", [1, 2])
def test_compilers_are_told_the_right_shapes(device, stride):
    part = folded(8, 12, stride, OFFICIAL).to(device, torch.float16)
    expansion, filter_ = arguments(part, torch.float16)
    x, hidden = (torch.randn(2, 5, 4, c, device=device).half() for c in (8, 24))
    for op, given in ((filtered, (hidden, *filter_)), (expanded_filtered, (x, *expansion, *filter_))):
        torch.library.opcheck(op.overload, (*given, stride, False, False))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_strip_has_slots_for_all_that_its_columns_need(stride):
    for columns in range(1, 200):
        slots, valid = strip(columns, stride)
        assert 1 <= valid <= slots - (3 - stride)
        assert -(-columns // valid) * slots == min(-(-columns // (s - 3 + stride)) * s for s in (16, 32))


def test_a_program_has_many_rows_where_there_are_enough_programs():
    assert rows_of_program(56, 2048, 512) == 56
    assert rows_of_program(56, 1, 512) == 7
    assert rows_of_program(1, 1, 512) == 1
    assert rows_of_program(56, 0, 512) == 7


@pytest.mark.full
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 14, 29, 30, 31, 32, 33, 63])
@pytest.mark.parametrize("height", [1, 2, 7, 15])
def test_any_map(device, stride, dialect, height, width):
    part, x = folded(6, 10, stride, dialect).to(device), torch.randn(2, height, width, 6, device=device)
    check_expanded(part, x, x.dtype, stride, dialect)


@pytest.mark.full
def test_bands_of_many_rows(device, monkeypatch):
    monkeypatch.setattr("maxvit.kernels.gpu.expand.PROGRAMS", 1)
    for stride in (1, 2):
        part, x = folded(6, 10, stride, OFFICIAL).to(device), torch.randn(2, 29, 9, 6, device=device)
        check_expanded(part, x, x.dtype, stride, OFFICIAL)

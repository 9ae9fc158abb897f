"""The standalone modules, as anyone would put them into another network."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maxvit import BlockAttention, GridAttention, MaxSA, MaxViTError


@pytest.mark.parametrize("layer", [BlockAttention(12, 3, head_dim=4), GridAttention(12, (2, 5), head_dim=4)])
def test_layer_is_attention_then_ffn_each_with_norm_and_residual(layer):
    x = torch.randn(2, 12, 7, 11)
    tokens = x.permute(0, 2, 3, 1)
    tokens = tokens + layer.attention(F.layer_norm(tokens, (12,), layer.norm1.weight, layer.norm1.bias, 1e-5))
    hidden = F.layer_norm(tokens, (12,), layer.norm2.weight, layer.norm2.bias, 1e-5) @ layer.ffn.expand.weight.T
    hidden = F.gelu(hidden + layer.ffn.expand.bias, approximate="tanh")
    tokens = tokens + hidden @ layer.ffn.project.weight.T + layer.ffn.project.bias
    torch.testing.assert_close(layer(x), tokens.permute(0, 3, 1, 2))


def test_maxsa_is_block_then_grid():
    maxsa, x = MaxSA(8, window_size=3, grid_size=2, head_dim=4), torch.randn(2, 8, 5, 7)
    assert torch.equal(maxsa(x), maxsa.grid_attention(maxsa.block_attention(x)))


def test_one_maxsa_lets_every_pixel_see_every_other():
    maxsa, x = MaxSA(4, window_size=2, grid_size=3, head_dim=4), torch.randn(1, 4, 6, 6, requires_grad=True)
    maxsa(x)[0, :, 0, 0].sum().backward()
    assert (x.grad.abs().sum(1) > 0).all()


def test_block_attention_alone_sees_its_window_only():
    layer, x = BlockAttention(4, 2, head_dim=4), torch.randn(1, 4, 6, 6, requires_grad=True)
    layer(x)[0, :, 0, 0].sum().backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    assert seen.nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_padding_is_seen_by_nobody():
    """A larger map with garbage where the smaller one is padded: only its window neighbours could tell."""
    layer, x = BlockAttention(8, 4, head_dim=4).eval(), torch.randn(1, 8, 5, 6)
    whole = F.pad(x, (0, 2, 0, 3), value=100.0)
    torch.testing.assert_close(layer(x)[:, :, :4, :4], layer(whole)[:, :, :4, :4])
    assert not torch.allclose(layer(x)[:, :, 4:, :4], layer(whole)[:, :, 4:5, :4])


@pytest.mark.parametrize("layer", [BlockAttention(8, 2, head_dim=4), GridAttention(8, 2, head_dim=4)])
def test_result_is_a_real_tensor_in_the_layout_it_came_in(layer):
    x = torch.randn(2, 8, 4, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = layer(x)
    assert not y._is_view()  # FSDP2 drops its hooks on views
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_drop_path_drops_both_branches_of_an_image_separately():
    layer = BlockAttention(4, 2, head_dim=4, drop_path=0.5).train()
    x = torch.randn(200, 4, 2, 2)
    untouched = (layer(x) == x).flatten(1).all(1)
    assert 25 < int(untouched.sum()) < 75  # both dropped: a quarter


def test_only_the_branches_are_dropped_at_the_rate_given():
    layers = list(MaxSA(8, 2, 2, head_dim=4, drop_path=0.3).children())
    assert [layer.drop_path.rate for layer in layers] == [0.3, 0.3]


def test_modules_follow_the_device_and_type_that_they_are_moved_to():
    maxsa = MaxSA(8, 2, 2, head_dim=4).double()
    assert maxsa(torch.randn(1, 8, 3, 5).double()).dtype == torch.float64


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: BlockAttention(50), "dim is 50, which is not a multiple of head_dim 32"),
        (lambda: GridAttention(32, 0), "the grid size is 0"),
        (lambda: MaxSA(32, window_size=(3, 0)), r"the window size is \(3, 0\)"),
    ],
)
def test_what_does_not_fit_is_named(make, says):
    with pytest.raises(MaxViTError, match=says):
        make()


def test_state_dict_holds_parameters_only():
    assert set(MaxSA(8, 2, 2, head_dim=4).state_dict()) == {n for n, _ in MaxSA(8, 2, 2, head_dim=4).named_parameters()}
    assert isinstance(MaxSA(8, 2, 2, head_dim=4), nn.Module)


@pytest.mark.parametrize("sides", [(37,), (9, 10), (3, 9, 10)])
def test_sizes_that_are_not_given_are_for_maps_of_the_same_sides(sides):
    x = torch.randn(2, 32, *sides)
    assert MaxSA(32, window_size=(4,) * len(sides))(x).shape == x.shape

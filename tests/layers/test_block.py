"""Blocks of any order and of any dialect, put together by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from maxvit import BlockAttention, Dialect, MaxSA, MaxViTBlock, MaxViTError, MBConv, ParallelAttention
from maxvit.layers.mbconv import Shortcut

SIZES = {"window_size": (2, 3), "grid_size": (3, 2), "head_dim": 4}


@pytest.mark.parametrize(
    ("order", "parts"),
    [
        ("CBG", ["mbconv", "block_attention", "grid_attention"]),
        ("GBC", ["downsample", "grid_attention", "block_attention", "mbconv"]),
        ("BG", ["downsample", "block_attention", "grid_attention"]),
        ("CBB", ["mbconv", "block_attention1", "block_attention2"]),
        ("CCP", ["mbconv1", "mbconv2", "attention"]),
    ],
)
def test_a_block_is_its_parts_one_after_the_other(order, parts):
    block, x = MaxViTBlock(8, 12, stride=2, order=order, **SIZES).eval(), torch.randn(2, 8, 9, 11)
    assert [name for name, _ in block.named_children()] == parts
    wanted = x
    for name in parts:
        wanted = block.get_submodule(name)(wanted)
        assert wanted.shape == (2, 12, 5, 6)  # the first strides
    assert torch.equal(block(x), wanted)


def test_the_parts_in_place_of_mbconv_are_those_of_its_shortcut():
    x = torch.randn(1, 8, 5, 6)
    block = MaxViTBlock(8, 12, stride=2, order="G", **SIZES)
    pooled = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
    assert isinstance(block.downsample, Shortcut)
    torch.testing.assert_close(block.downsample(x), block.downsample.conv(pooled))
    assert [name for name, _ in MaxViTBlock(8, 8, order="G", **SIZES).named_children()] == ["grid_attention"]


def test_a_mask_is_for_every_attention_of_a_block():
    block, mask = MaxViTBlock(8, 8, stride=2, order="CPBG", **SIZES).eval(), torch.rand(2, 5, 6) < 0.5
    x = block.mbconv(torch.randn(2, 8, 9, 11))
    wanted = block.grid_attention(block.block_attention(block.attention(x, mask), mask), mask)
    block.mbconv = nn.Identity()
    assert torch.equal(block(x, mask), wanted)
    assert not torch.allclose(block(x), wanted)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": "CBX"}, r"order is 'CBX'; it takes letters of C \(MBConv\), B"),
        ({"order": ""}, "order is ''"),
        ({"head_dim": 5}, "dim is 12, which is not a multiple of head_dim 5"),
        ({"grid_size": (2, 2, 2)}, r"the grid size is \(2, 2, 2\); it takes whole numbers from 1 up, for 2 sides"),
    ],
)
def test_what_does_not_fit_is_named(options, says):
    with pytest.raises(MaxViTError, match=says):
        MaxViTBlock(8, 12, **{**SIZES, **options})


def by_hand(layer, x, norm, ffn):
    """Attention and feed-forward network, each with its norm, scale and residual."""
    x = x.movedim(1, -1)
    x = x + layer.scale1.scale * layer.attention(norm(x, layer.norm1))
    return (x + layer.scale2.scale * ffn(norm(x, layer.norm2), layer.ffn)).movedim(-1, 1)


def layer_norm(x, norm):
    return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, 1e-5)


def rms_norm(x, norm):
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight


def batch_norm(x, norm):
    sides = tuple(range(x.ndim - 1))
    centred = x - x.mean(sides)
    return centred / (centred.square().mean(sides) + 1e-3).sqrt() * norm.weight + norm.bias


def plain(x, ffn):
    return ffn.project(F.gelu(ffn.expand(x), approximate="tanh"))


def gated(x, ffn):
    a, b = ffn.expand(x).tensor_split(2, -1)
    return ffn.project(F.gelu(a, approximate="tanh") * b)


@pytest.mark.parametrize("sides", [(7,), (5, 6), (3, 5, 4)])
@pytest.mark.parametrize(
    ("options", "norm", "ffn"),
    [
        ({}, layer_norm, plain),
        ({"norm": "rms"}, rms_norm, plain),
        ({"norm": "batch"}, batch_norm, plain),
        ({"feed_forward": "gated"}, layer_norm, gated),
    ],
)
def test_norms_and_feed_forward_networks_are_the_dialect_s(options, norm, ffn, sides):
    size = (3, 2, 2)[: len(sides)]
    layer = BlockAttention(8, size, head_dim=4, dialect=Dialect(layer_scale=0.5, **options)).train()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(3, 8, *sides)
    torch.testing.assert_close(layer(x), by_hand(layer, x, norm, ffn))


@pytest.mark.parametrize("sides", [(7,), (5, 6), (3, 5, 4)])
def test_a_channels_last_map_is_never_copied_to_be_read_as_tokens(sides):
    x = torch.randn(2, *sides, 8).movedim(-1, 1)
    seen = []
    size = (2,) * len(sides)
    for layer in (MaxSA(8, size, size, head_dim=4), ParallelAttention(8, size, size, head_dim=4)):
        for module in layer.modules():
            if isinstance(module, nn.LayerNorm):
                module.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        assert layer(x).movedim(1, -1).is_contiguous()
    assert seen[0].data_ptr() == seen[4].data_ptr() == x.data_ptr()
    assert all(tokens.is_contiguous() for tokens in seen)


@pytest.mark.parametrize("options", [{}, {"padding": "symmetric", "widths_from": "input"}])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [1, 2])
def test_mbconv_with_one_more_side_of_one_token_is_the_same(dims, stride, options):
    """The kernel's middle alone sees that token."""
    flat, deep = (MBConv(6, 8, stride, dialect=Dialect(**options), dims=n).eval() for n in (dims, dims + 1))
    state = {}
    for name, tensor in deep.state_dict().items():
        state[name] = flat.state_dict()[name]
        if tensor.ndim > 2:
            middle = torch.tensor([tensor.shape[2] // 2])
            state[name] = torch.zeros_like(tensor).index_copy(2, middle, state[name].unsqueeze(2))
    deep.load_state_dict(state)
    x = torch.randn(2, 6, *(7, 10)[:dims])
    torch.testing.assert_close(deep(x.unsqueeze(2)).squeeze(2), flat(x))


def test_dims_of_mbconv_that_do_not_exist_are_refused():
    with pytest.raises(MaxViTError, match="dims is 4; choose 1, 2 or 3"):
        MBConv(8, 8, dims=4)


@pytest.mark.parametrize(
    ("layer", "x", "takes"),
    [
        (MaxSA(8, 2, 2, head_dim=4), torch.randn(1, 8, 2, 4, 4), "batch, channels, height, width"),
        (
            ParallelAttention(8, (2, 2, 2), 2, head_dim=4),
            torch.randn(1, 8, 4, 4),
            "batch, channels, time, height, width",
        ),
        (MBConv(8, 8, dims=1), torch.randn(1, 8, 4, 4), "batch, channels, length"),
    ],
)
def test_maps_of_another_number_of_sides_are_refused_with_what_is_taken(layer, x, takes):
    shape = ", ".join(map(str, x.shape))
    with pytest.raises(MaxViTError, match=rf"the map has shape \({shape}\), and the layer takes \({takes}\)"):
        layer(x)

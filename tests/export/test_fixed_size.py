"""Graphs for one size, as phones take them: the network's numbers, on few axes, without what makes the bias."""

import pytest
import torch
from torch import nn

from maxvit import MaxViT, MaxViTConfig
from maxvit.export.fixed_size import FixedAttention, TanhGELU, fix_size, fixed_partition, fixed_unpartition
from maxvit.export.torch_export import program
from maxvit.layers.attention import GroupAttention
from maxvit.layers.partition import Groups, padded_size, partition

GROUPS = [
    Groups((2, 3), "block"),
    Groups((2, 3), "grid"),
    Groups((2, 3), "grid", (2, 1)),
    Groups((1, 5), "block"),
    Groups((3, 2), "grid", (1, 3)),
]


@pytest.mark.parametrize("sides", [(8, 12), (7, 11), (1, 2)])
@pytest.mark.parametrize("groups", GROUPS)
def test_tokens_are_gathered_and_put_back_as_by_the_partition(groups, sides):
    x = torch.randn(2, *sides, 5)
    cuts, padded = groups.cuts(sides), padded_size(sides, groups.span())
    found = fixed_partition(x, cuts, padded)
    assert found.equal(partition(x, groups).flatten(0, 1))
    assert fixed_unpartition(found, 2, cuts, padded, sides).equal(x)


@pytest.mark.parametrize("sides", [(8, 12), (7, 11), (1, 2)])
@pytest.mark.parametrize("groups", GROUPS)
def test_attention_of_one_size_is_that_of_any(groups, sides):
    attention = GroupAttention(12, groups.axis, groups.size, (3, 5), head_dim=4, dilation=groups.dilation).eval()
    nn.init.normal_(attention.bias.table)
    x = torch.randn(2, *sides, 12)
    with torch.no_grad():
        torch.testing.assert_close(FixedAttention(attention, sides)(x), attention(x))


CONFIG = MaxViTConfig(
    stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, window_size=(3, 2), grid_size=(2, 3),
    num_classes=5, image_size=(64, 96),
)  # fmt: skip


@pytest.fixture
def model():
    return MaxViT(CONFIG).eval()


def test_a_program_of_one_size_has_no_more_than_four_axes_and_no_table(model):
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        expected = model(images)
    made = program(fix_size(model, images), images, [])
    axes = [node.meta["val"].ndim for node in made.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    assert max(axes) == 4
    assert not any(name.endswith("table") for name in made.state_dict)
    torch.testing.assert_close(made.module()(images), expected)


def test_attention_that_somebody_changed_stays_as_it_is(model):
    model.stages[0][0].block_attention.attention.register_forward_hook(lambda module, given, out: 2 * out)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(images)
        torch.testing.assert_close(fix_size(model, images)(images), expected)
    kept = [name for name, part in model.named_modules() if isinstance(part, GroupAttention)]
    assert kept == ["stages.0.0.block_attention.attention"]


def test_gelu_that_is_written_out_is_the_tanh_formula():
    x = torch.linspace(-9, 9, 1001)
    torch.testing.assert_close(TanhGELU()(x), torch.nn.functional.gelu(x, approximate="tanh"))

"""Attention received, against a loop over positions that shares no code with it."""

import itertools

import pytest
import torch
from networks import opinionated, tiny
from torch import nn

from maxvit.errors import MaxViTError
from maxvit.explain.attention_maps import attention_maps, received
from maxvit.layers.attention import GroupAttention

SIZES = [((2, 3), (5, 11)), ((3, 2), (5, 11)), ((2, 3), (4, 9)), ((4, 5), (3, 2)), ((1, 1), (2, 3))]  # group, map


def attention_layer(axis, size):
    return opinionated(GroupAttention(16, axis, size, (2 * size[0] - 1, 2 * size[1] - 1), head_dim=8)).eval()


def group_and_place(i, j, hw, size, axis):
    """The group that a position belongs to, and where in it."""
    across, along = -(-hw[0] // size[0]), -(-hw[1] // size[1])  # groups of a map that is padded to a multiple
    if axis == "block":
        return (i // size[0], j // size[1]), (i % size[0], j % size[1])
    return (i % across, j % along), (i // across, j // along)


def slow_received(layer, x):
    """One query and one key at a time; the bias table is that of the layer's own size."""
    _, height, width, channels = x.shape
    q, k, _ = (x[0] @ layer.qkv.weight.T + layer.qkv.bias).reshape(height, width, 3, layer.heads, -1).unbind(2)
    total = torch.zeros(height, width)
    positions = list(itertools.product(range(height), range(width)))
    where = {p: group_and_place(*p, (height, width), layer.size, layer.axis) for p in positions}
    for query in positions:
        keys = [p for p in positions if where[p][0] == where[query][0]]
        for head in range(layer.heads):
            scores = []
            for key in keys:
                dy, dx = (b - a for a, b in zip(where[query][1], where[key][1], strict=True))
                bias = layer.bias.table[head, dy + layer.size[0] - 1, dx + layer.size[1] - 1]
                scores.append(q[query][head] @ k[key][head] / (channels // layer.heads) ** 0.5 + bias)
            for key, share in zip(keys, torch.stack(scores).softmax(0), strict=True):
                total[key] += share / layer.heads  # over the queries: the mean, times as many tokens
    return total


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("size", "hw"), SIZES)
def test_received_is_what_the_definition_says(axis, size, hw):
    layer, x = attention_layer(axis, size), torch.randn(1, *hw, 16)
    with torch.no_grad():
        torch.testing.assert_close(received(layer, x), slow_received(layer, x))


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize(("size", "hw"), SIZES)
def test_the_real_tokens_of_a_group_receive_1_on_average(axis, size, hw):
    with torch.no_grad():
        values = received(attention_layer(axis, size), torch.randn(1, *hw, 16))
    groups = {}
    for i, j in itertools.product(range(hw[0]), range(hw[1])):
        groups.setdefault(group_and_place(i, j, hw, size, axis)[0], []).append(values[i, j])
    for tokens in groups.values():
        torch.testing.assert_close(torch.stack(tokens).mean(), torch.tensor(1.0))


def test_tokens_that_are_all_alike_receive_1_each():
    layer = attention_layer("block", (2, 3))
    nn.init.zeros_(layer.bias.table)
    with torch.no_grad():
        values = received(layer, torch.ones(1, 5, 11, 16))
    torch.testing.assert_close(values, torch.ones(5, 11))


def test_the_maps_are_those_of_the_last_block_of_each_stage():
    model, image = tiny(grid_size=(2, 3)).train(), torch.randn(3, 83, 45)
    inputs = []
    layers = [layer for stage in model.stages for layer in (stage[-1].block_attention, stage[-1].grid_attention)]
    hooks = [layer.attention.register_forward_pre_hook(lambda _, args: inputs.append(args[0])) for layer in layers]
    maps = attention_maps(model, image)
    for hook in hooks:
        hook.remove()
    assert [(m.stage, m.axis) for m in maps] == [(s, axis) for s in (1, 2, 3, 4) for axis in ("block", "grid")]
    assert [m.values.shape for m in maps[::2]] == [(21, 12), (11, 6), (6, 3), (3, 2)]
    for m, layer, x in zip(maps, layers, inputs, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(m.values), slow_received(layer.attention, x))


def test_a_map_of_one_token_is_left_out():
    maps = attention_maps(tiny(), torch.randn(3, 32, 32))  # stage 4 sees 1 x 1
    assert [m.stage for m in maps] == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = tiny().train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attention_maps(model, torch.randn(3, 83, 45))
    assert all(module.training is training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_nothing_stays_hooked_when_the_image_is_wrong():
    model = tiny().train()
    with pytest.raises(MaxViTError, match="smallest side is 32"):
        attention_maps(model, torch.randn(3, 31, 45))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_training_mode_with_its_drop_path_changes_no_map():
    model, image = tiny(), torch.randn(3, 83, 45)
    first, second = attention_maps(model.train(), image), attention_maps(model.eval(), image)
    assert len(first) == len(second) == 8
    for a, b in zip(first, second, strict=True):
        assert (a.values == b.values).all()

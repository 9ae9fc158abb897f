"""What a token attends to, against the dense definition that visits every token."""

import dataclasses
import json

import pytest
import torch
from networks import given_to, tiny

import maxvit
from maxvit.errors import MaxViTError
from maxvit.explain.token_attention import attention_at
from maxvit.layers.attention import GroupAttention
from slow_attention import slow_weights

POINTS = [(0, 0), (44, 82), (44, 0), (17, 61), (3, 82)]  # of 83 x 45: corners, borders, the middle


@pytest.mark.parametrize("point", POINTS)
def test_every_layer_s_map_is_what_the_definition_says(point):
    model, image = tiny(), torch.randn(3, 83, 45)
    maps, given = attention_at(model, image, point), given_to(model, image)
    assert [(m.stage, m.block, m.axis) for m in maps] == [
        (stage, block, axis) for stage, block in ((1, 1), (2, 1), (2, 2), (3, 1), (4, 1)) for axis in ("block", "grid")
    ]
    for m, (layer, x) in zip(maps, given.items(), strict=True):
        stride = 2 ** (m.stage + 1)
        query = point[1] // stride * m.width + point[0] // stride
        with torch.no_grad():
            wanted = slow_weights(layer, x).mean(0)[query].view(m.height, m.width)
        torch.testing.assert_close(torch.tensor(m.values), wanted)


@pytest.mark.parametrize("head", [0, 1, 2])
def test_a_head_is_that_head_and_none_is_their_mean(head):
    model, image, point = tiny(), torch.randn(3, 83, 45), (44, 82)
    layer, x = list(given_to(model, image).items())[-1]
    with torch.no_grad():
        wanted = slow_weights(layer, x)[head, -1].view(3, 2)
    (of_head,) = attention_at(model, image, point, 4, 1, "grid", head)
    torch.testing.assert_close(torch.tensor(of_head.values), wanted)
    assert attention_at(model, image, point, 4, 1, "grid") == attention_at(model, image, point)[-1:]


@pytest.mark.parametrize("point", POINTS)
def test_attention_sums_to_1_over_cells_that_do_not_overlap_and_is_0_elsewhere(point):
    for m in attention_at(tiny(), torch.randn(3, 83, 45), point):
        covered = torch.zeros(83, 45, dtype=torch.int64)
        for left, top, right, bottom in m.cells:
            assert left < right <= 45
            assert top < bottom <= 83
            covered[top:bottom, left:right] += 1
        assert covered.max() == 1
        stride = 2 ** (m.stage + 1)
        values = torch.tensor(m.values)
        assert ((values > 0) == covered[::stride, ::stride].bool()).all()
        torch.testing.assert_close(values.sum(), torch.tensor(1.0))
        left, top, right, bottom = m.own
        assert m.own in m.cells
        assert left <= point[0] < right
        assert top <= point[1] < bottom


def test_cells_are_a_window_of_neighbours_and_a_grid_that_is_spread():
    # 83 x 45 pixels: 21 x 12 tokens of 4 pixels; windows of 2 x 3, a grid of 3 x 2 with steps of 7 and 6 tokens
    block, grid = attention_at(tiny(), torch.randn(3, 83, 45), (30, 70))[:2]
    assert block.cells == [(x, y, x + 4, y + 4) for y in (64, 68) for x in (24, 28, 32)]
    assert grid.cells == [(x, y, x + 4, y + 4) for y in (12, 40, 68) for x in (4, 28)]
    assert block.own == grid.own == (28, 68, 32, 72)


def test_a_map_survives_json():
    maps = maxvit.attention_at(tiny(), torch.randn(3, 37, 45), (5, 6))
    plain = json.loads(json.dumps([dataclasses.asdict(m) for m in maps]))
    assert [p["values"] for p in plain] == [m.values for m in maps]
    assert [tuple(c) for c in plain[0]["cells"]] == maps[0].cells


def test_one_forward_serves_every_layer(monkeypatch):
    model, calls = tiny(), []
    plain = type(model).forward_pyramid
    monkeypatch.setattr(type(model), "forward_pyramid", lambda *args: (calls.append(1), plain(*args))[1])
    attention_at(model, torch.randn(3, 37, 45), (5, 6))
    assert len(calls) == 1


@pytest.mark.parametrize("point", [(45, 0), (0, 83), (-1, 5)])
def test_a_point_outside_is_refused_with_the_bounds(point):
    with pytest.raises(MaxViTError, match="x goes from 0 to 44 and y from 0 to 82"):
        attention_at(tiny(), torch.randn(3, 83, 45), point)


@pytest.mark.parametrize(
    ("layer", "head", "sentence"),
    [
        ((2, 3, "block"), None, "stages 1 to 4 have 1, 2, 1, 1 blocks"),
        ((0, 1, "grid"), None, "stages 1 to 4"),
        ((1, 1, "window"), None, "the axes are 'block' and 'grid'"),
        ((4, 1, "block"), 3, "stage 4 has heads 0 to 2"),
    ],
)
def test_a_layer_or_head_that_is_not_there_is_refused(layer, head, sentence):
    with pytest.raises(MaxViTError, match=sentence):
        attention_at(tiny(), torch.randn(3, 37, 45), (5, 6), *layer, head)


def test_a_batch_is_no_image():
    with pytest.raises(MaxViTError, match="one preprocessed image"):
        attention_at(tiny(), torch.randn(1, 3, 37, 45), (5, 6))


def test_an_optimised_network_cannot_be_looked_into():
    with pytest.raises(MaxViTError, match="give the original"):
        attention_at(maxvit.optimize(maxvit.create_model("maxvit_micro")), torch.randn(3, 37, 45), (5, 6))


def test_the_network_is_left_as_it_was():
    model = tiny().train()
    attention_at(model, torch.randn(3, 37, 45), (5, 6))
    assert all(module.training for module in model.modules())
    assert not any(m._forward_hooks for m in model.modules() if isinstance(m, GroupAttention))
    assert all(parameter.grad is None for parameter in model.parameters())

"""The attention core for inference: that of the layers, wherever it is chosen, and the general one everywhere else."""

import pytest
import torch
from budget import TYPES, check
from test_gpu_attention import plain
from torch import nn

from maxvit.kernels.gpu import attention_inference
from maxvit.kernels.gpu.attention import attend
from maxvit.kernels.gpu.attention_inference import (
    FEWEST,
    MOST,
    attend_fixed,
    group_attention_fixed,
    padded,
    padded_bias,
    pieces,
)
from maxvit.layers.attention import GroupAttention


def compare(device, size, axis, dtype, batch=2, down=1, along=2, heads=2, dim=16):
    qkv = torch.randn(batch, down * size[0], along * size[1], 3 * heads * dim, device=device)
    tokens = size[0] * size[1]
    bias = torch.randn(heads, tokens, tokens, device=device)
    check(
        lambda x, b: group_attention_fixed(x, padded(b), size, axis),
        lambda x, b: plain(x, b, size, axis),
        [qkv, bias],
        dtype,
        gradients=False,
    )


@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize("size", [(7, 7), (8, 8), (5, 7), (9, 9), (12, 12), (16, 16)], ids=str)
def test_it_is_the_attention_of_the_layers(device, size, axis):
    compare(device, size, axis, torch.float32)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize(("dim", "heads"), [(32, 3), (64, 1)])
def test_heads_of_other_widths(device, dtype, dim, heads):
    compare(device, (5, 8), "grid", dtype, heads=heads, dim=dim)


@pytest.mark.full
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("axis", ["block", "grid"])
@pytest.mark.parametrize("size", [(7, 7), (8, 8), (13, 11), (12, 12), (16, 16)], ids=str)
def test_the_same_in_all_types(device, size, axis, dtype):
    compare(device, size, axis, dtype, batch=1, down=2, along=3)


@pytest.mark.full
@pytest.mark.parametrize("tokens", range(FEWEST, MOST + 1))
def test_every_number_of_tokens(device, tokens):
    columns = next(q for q in (8, 7, 5, 3, 2, 1) if tokens % q == 0)
    compare(device, (tokens // columns, columns), "grid" if tokens % 2 else "block", torch.float32, batch=1, heads=1)


@pytest.mark.parametrize("axis", ["block", "grid"])
def test_a_program_takes_several_groups(device, monkeypatch, axis):
    monkeypatch.setattr(attention_inference, "PROGRAMS", 4)
    compare(device, (5, 7), axis, torch.float32, batch=3, down=2, along=3)


def test_scores_may_be_large(device):
    """Exponents are taken from the largest score of both pieces."""
    qkv = 30 * torch.randn(1, 12, 12, 3 * 16, device=device)
    bias = torch.randn(1, 144, 144, device=device)
    inputs = [qkv, bias]
    ours = lambda x, b: group_attention_fixed(x, padded(b), (12, 12), "block")  # noqa: E731
    check(ours, lambda x, b: plain(x, b, (12, 12), "block"), inputs, torch.float32, gradients=False)


def test_pieces_hold_all_keys_and_are_not_more_than_a_power_of_two():
    for tokens in range(FEWEST, MOST + 1):
        first, second = pieces(tokens)
        assert tokens <= first + second <= 2 ** (tokens - 1).bit_length()
        assert {first, second} <= {0, 16, 32, 64, 128}
    assert [pieces(tokens) for tokens in (49, 81, 144, 256)] == [(64, 0), (64, 32), (128, 16), (128, 128)]


def layer(device, size, dim=16):
    part = GroupAttention(2 * dim, "block", size, size, dim).to(device)
    nn.init.normal_(part.bias.table)
    return part


@pytest.mark.parametrize(
    ("dtype", "hw", "size", "serves"),
    [
        (torch.bfloat16, (14, 7), (7, 7), True),
        (torch.bfloat16, (13, 7), (7, 7), False),  # padded
        (torch.float32, (14, 7), (7, 7), False),
        (torch.bfloat16, (6, 6), (3, 3), False),  # several groups in a tile
    ],
    ids=str,
)
def test_it_is_chosen_where_it_serves_and_answers_as_the_other(device, monkeypatch, dtype, hw, size, serves):
    part, called = layer(device, size), []
    monkeypatch.setattr(
        attention_inference,
        "group_attention_fixed",
        lambda *given: called.append(1) or group_attention_fixed(*given),
    )
    qkv = torch.randn(2, *hw, 3 * 32, device=device).to(dtype)
    bias = padded_bias(part.to(dtype))
    with torch.no_grad():
        ours, general = attend_fixed(part, bias, qkv), attend(part, qkv)
    assert bool(called) == serves
    torch.testing.assert_close(ours, general, atol=0.03, rtol=0.03)


@pytest.mark.parametrize(("size", "dim"), [((7, 7), 24), ((7, 7), 128), ((17, 17), 32), ((4, 8), 32)], ids=str)
def test_other_heads_and_groups_are_left_to_the_general_kernel(device, size, dim):
    assert padded_bias(layer(device, size, dim)) is None


@pytest.mark.full
def test_compilers_are_told_the_right_shapes(device):
    qkv, bias = torch.randn(2, 14, 7, 96, device=device), padded(torch.randn(2, 49, 49, device=device))
    torch.library.opcheck(group_attention_fixed.overload, (qkv, bias, (7, 7), "grid"))


def test_an_empty_batch_has_an_empty_result(device):
    bias = padded(torch.randn(2, 49, 49, device=device))
    assert group_attention_fixed(torch.randn(0, 14, 7, 96, device=device), bias, (7, 7), "grid").shape == (0, 14, 7, 32)

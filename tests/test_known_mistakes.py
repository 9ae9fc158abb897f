"""The mistakes that other implementations make, each put into our network: the golden data must tell it apart.

The list is that of the reference ("Differences in other implementations", the version printed in a blog post). What
no output shows (initialisation, drop rates, decay, parameter counts) is checked in `test_model.py`.
"""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maxvit import MaxViT, load_model
from maxvit.layers.attention import GroupAttention
from maxvit.layers.mbconv import MBConv, SameConv2d, Shortcut, SqueezeExcite
from maxvit.layers.position_bias import RelativePositionBias
from official import CHECKPOINT, MICRO, difference, golden, network
from test_golden import LOGITS


def each(model: MaxViT, kind: type[nn.Module], change: Callable[[nn.Module], object]) -> None:
    found = [m for m in model.modules() if isinstance(m, kind)]
    assert found
    for module in found:
        change(module)


def set_attributes(**values: object) -> Callable[[nn.Module], None]:
    return lambda module: [setattr(module, name, value) for name, value in values.items()] and None


def change_table(change: Callable[[Tensor], Tensor]) -> Callable[[MaxViT], None]:
    return lambda model: each(model, RelativePositionBias, lambda m: m.table.copy_(change(m.table.clone())))


def symmetric_padding(model: MaxViT) -> None:
    def change(conv: SameConv2d) -> None:
        conv.forward = lambda x: F.conv2d(x, conv.weight, conv.bias, conv.stride, 1, groups=conv.groups)

    each(model, SameConv2d, change)


def max_pool_shortcut(model: MaxViT) -> None:
    def change(shortcut: Shortcut) -> None:
        if shortcut.stride == 2:
            shortcut.forward = lambda x: shortcut.conv(F.max_pool2d(x, 2, 2))

    each(model, Shortcut, change)


def scale_by_heads(model: MaxViT) -> None:
    def change(attention: GroupAttention) -> None:
        queries = attention.qkv.weight.shape[0] // 3
        for parameter in attention.qkv.parameters():  # heads ** -0.5 instead of 32 ** -0.5
            parameter[:queries] *= (32 / attention.heads) ** 0.5

    each(model, GroupAttention, change)


def more_heads(model: MaxViT) -> None:
    """32 heads at every width; scaled and biased as before, to show the heads alone."""

    def change(attention: GroupAttention) -> None:
        parts = 32 // attention.heads
        for parameter in attention.qkv.parameters():
            parameter[: parameter.shape[0] // 3] *= parts**-0.5
        attention.bias.table = nn.Parameter(attention.bias.table.repeat_interleave(parts, 0))
        attention.heads = 32

    each(model, GroupAttention, change)


def grid_before_block(model: MaxViT) -> None:
    for stage in model.stages:
        for block in stage:
            block.block_attention, block.grid_attention = block.grid_attention, block.block_attention


def inner_residual(model: MaxViT) -> None:
    def change(mbconv: MBConv) -> None:
        if mbconv.depthwise.stride[0] == 1:
            mbconv.depthwise.weight[:, 0, 1, 1] += 1  # x + depthwise(x)

    each(model, MBConv, change)


MISTAKES: dict[str, Callable[[MaxViT], object]] = {
    "stem without norm": lambda m: setattr(m.stem, "norm", nn.Identity()),
    "activation after the second stem convolution": lambda m: setattr(
        m.stem, "conv2", nn.Sequential(m.stem.conv2, nn.GELU("tanh"))
    ),
    "symmetric padding at stride 2": symmetric_padding,
    "no norm after the expansion": lambda m: each(m, MBConv, set_attributes(expand_norm=nn.Identity())),
    "no pre-norm": lambda m: each(m, MBConv, set_attributes(pre_norm=nn.Identity())),
    "residual inside MBConv": inner_residual,
    "squeeze-excitation with ReLU": lambda m: each(m, SqueezeExcite, set_attributes(act=nn.ReLU())),
    "squeeze-excitation with GELU": lambda m: each(m, SqueezeExcite, set_attributes(act=nn.GELU("tanh"))),
    "max pool in the shortcut": max_pool_shortcut,
    "queries scaled by the number of heads": scale_by_heads,
    "32 heads at every width": more_heads,
    "no relative bias": change_table(torch.zeros_like),
    "bias is query minus key": change_table(lambda t: t.flip(1, 2)),
    "bias with height and width swapped": change_table(lambda t: t.mT),
    "exact GELU": lambda m: each(m, nn.GELU, set_attributes(approximate="none")),
    "batch-norm epsilon 1e-5": lambda m: each(m, nn.BatchNorm2d, set_attributes(eps=1e-5)),
    "grid attention before block attention": grid_before_block,
    "head without norm": lambda m: setattr(m.head, "norm", nn.Identity()),
    "head without dense layer": lambda m: (nn.init.eye_(m.head.dense.weight), nn.init.zeros_(m.head.dense.bias)),
    "head without tanh": lambda m: setattr(m.head, "forward", lambda x: m.head.classifier(
        m.head.dense(m.head.norm(x.mean((2, 3)))))),
    "max pooling before the head": lambda m: setattr(m.head, "pool", "max"),
}  # fmt: skip


@pytest.fixture(scope="module")
def micro() -> MaxViT:
    return load_model(CHECKPOINT)


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_golden_data_tells_the_mistake_apart(micro, mistake):
    expected, model = golden("micro_224"), copy.deepcopy(micro)
    with torch.no_grad():
        mistake(model)
        wrong = model(expected["images"][:2])
    assert difference(wrong, expected["logits"][:2]) > 2 * LOGITS


def test_without_a_mistake_nothing_is_apart(micro):
    expected = golden("micro_224")
    with torch.no_grad():
        assert difference(micro(expected["images"][:2]), expected["logits"][:2]) < LOGITS / 10


def test_start_of_training_tells_the_layer_norm_epsilon_apart():
    model, expected = network(MICRO, "micro/init", at_start=True), golden("micro_init_224")
    each(model, nn.LayerNorm, set_attributes(eps=1e-6))
    with torch.no_grad():
        wrong = model(golden("micro_224")["images"][:2])
    assert difference(wrong, expected["logits"]) > 0.1


@pytest.mark.parametrize("how", [{"mode": "bicubic"}, {"mode": "bilinear", "align_corners": True}])
def test_golden_data_at_384_tells_another_resize_of_the_bias_apart(how, monkeypatch):
    model, expected = load_model(CHECKPOINT, image_size=384), golden("micro_384")
    resize = F.interpolate
    monkeypatch.setattr(F, "interpolate", lambda table, size, **_: resize(table, size, **how))
    with torch.no_grad():
        wrong = model(expected["images"])
    assert difference(wrong, expected["logits"]) > 2 * LOGITS


def test_the_constants_that_fine_tuning_shows_are_the_official_ones(micro):
    norms = [m for m in micro.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}

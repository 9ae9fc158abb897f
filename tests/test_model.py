"""The network beside its numbers: shapes, sizes, knobs, initialisation, saving."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from maxvit import (
    MaxSA,
    MaxViT,
    MaxViTConfig,
    MaxViTError,
    Predictor,
    accelerate,
    create_model,
    export_model,
    load_model,
    optimize,
    preprocess,
)
from maxvit.config import OFFICIAL, TORCHVISION, VARIANTS
from maxvit.layers.attention import GroupAttention
from maxvit.layers.drop_path import DropPath
from maxvit.layers.position_bias import RelativePositionBias

TINY = MaxViTConfig(
    stem_channels=6,
    channels=(8, 16, 24, 32),
    depths=(1, 2, 1, 1),
    window_size=(3, 2),
    grid_size=(2, 3),
    head_dim=8,
    num_classes=5,
    image_size=(32, 48),
)


def on_meta(name: str, **options: object) -> MaxViT:
    with torch.device("meta"):
        return create_model(name, **options)


@pytest.mark.parametrize(
    ("name", "learned", "statistics"),
    [
        ("maxvit_tiny", 30_916_528, 47_616),
        ("maxvit_small", 68_927_956, 71_296),
        ("maxvit_base", 119_467_708, 147_328),
        ("maxvit_large", 211_785_560, 196_608),
        ("maxvit_xlarge", 474_951_952, 294_912),
    ],
)
def test_parameters_are_the_official_ones_at_every_size(name, learned, statistics):
    model = on_meta(name)
    assert sum(p.numel() for p in model.parameters()) == learned
    assert sum(b.numel() for n, b in model.named_buffers() if "running" in n) == statistics
    model.set_image_size(512)
    assert sum(p.numel() for p in model.parameters()) == learned


@pytest.mark.parametrize(
    ("name", "learned"), [("maxvit_tiny", 41_608_987), ("maxvit_base", 135_495_975), ("maxvit_xlarge", 506_987_643)]
)
def test_parameters_with_the_classes_of_imagenet_21k(name, learned):
    assert sum(p.numel() for p in on_meta(name, num_classes=21_843).parameters()) == learned


def test_micro_is_below_one_and_a_half_million():
    assert sum(p.numel() for p in on_meta("maxvit_micro").parameters()) < 1_500_000


@pytest.mark.parametrize(("rate", "total"), [(0.2, 5), (0.0, 5)])
def test_drop_path_grows_by_rate_over_all_blocks_and_one_block_shares_it(rate, total):
    model = MaxViT(dataclasses.replace(TINY, drop_path_rate=rate))
    blocks = [block for stage in model.stages for block in stage]
    assert len(blocks) == total
    for b, block in enumerate(blocks):
        rates = [m.rate for m in block.modules() if isinstance(m, DropPath)]
        assert rates == [rate * b / total] * 3  # of MBConv, and of each attention with its FFN


@pytest.mark.parametrize(("size", "last"), [("tiny", 0.8182), ("small", 0.7273), ("base", 0.6167), ("large", 0.425)])
def test_survival_of_the_last_block_is_the_official_one(size, last):
    assert 1 - VARIANTS[f"maxvit_{size}"].drop_path_rates()[-1][-1] == pytest.approx(last, abs=5e-5)


def test_initialisation_is_the_official_one():
    model = create_model("maxvit_micro")
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | RelativePositionBias):
            kernel = module.table if isinstance(module, RelativePositionBias) else module.weight
            spread = 5 / (2 * kernel.numel()) ** 0.5  # five deviations of the estimate
            assert kernel.std().item() == pytest.approx(0.02, rel=spread), name
            assert abs(kernel.mean().item()) < 0.02 * 5 / kernel.numel() ** 0.5, name
            assert kernel.numel() < 20_000 or kernel.abs().max() > 0.065, f"{name} is truncated"
        if isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            assert (module.weight == 1).all()
        if getattr(module, "bias", None) is not None and not isinstance(module, GroupAttention):
            assert (module.bias == 0).all(), name


def test_heads_are_32_channels_wide_at_every_width():
    model = on_meta("maxvit_base")
    for stage, channels in zip(model.stages, (96, 192, 384, 768), strict=True):
        assert {m.heads for m in stage.modules() if isinstance(m, GroupAttention)} == {channels // 32}
        assert {m.table.shape for m in stage.modules() if isinstance(m, RelativePositionBias)} == {
            (channels // 32, 13, 13)
        }


def test_biases_norms_and_bias_tables_are_not_decayed_and_all_else_is():
    model = MaxViT(TINY)
    kernels = {f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    assert model.no_weight_decay() == {n for n, _ in model.named_parameters()} - kernels
    assert sum(n.endswith("bias.table") for n in model.no_weight_decay()) == 10


@pytest.mark.parametrize("hw", [(32, 32), (37, 53), (61, 32), (96, 41)])
@pytest.mark.parametrize("training", [False, True])
def test_any_size_gives_logits_and_maps_of_its_own_size(hw, training):
    model, images = MaxViT(TINY).train(training), torch.randn(2, 3, *hw)
    assert model(images).shape == (2, 5)
    for stride, x in zip((32, 4, 2), model.forward_pyramid(images, strides=(32, 4, 2)), strict=True):
        assert x.shape == (2, model.pyramid_channels[stride], -(-hw[0] // stride), -(-hw[1] // stride))


def test_pyramid_is_what_the_head_sees():
    model, images = MaxViT(TINY).eval(), torch.randn(2, 3, 37, 53)
    assert torch.equal(model.forward_pyramid(images)[-1], model.forward_features(images))
    assert model.pyramid_channels == {2: 6, 4: 8, 8: 16, 16: 24, 32: 32}
    with pytest.raises(MaxViTError, match=r"strides \[3\] do not exist; choose from \[2, 4, 8, 16, 32\]"):
        model.forward_pyramid(images, strides=(3, 4))


def test_head_is_pool_norm_dense_tanh_classifier():
    model, features = MaxViT(TINY).eval(), torch.randn(2, 32, 3, 5)
    norm = nn.functional.layer_norm(features.mean((2, 3)), (32,), eps=1e-5)
    hidden = (norm @ model.head.dense.weight.T).tanh()
    torch.testing.assert_close(model.forward_head(features, pre_logits=True), hidden)
    torch.testing.assert_close(model.forward_head(features), hidden @ model.head.classifier.weight.T)


def test_max_pooling_takes_the_largest():
    model = MaxViT(dataclasses.replace(TINY, pool="max")).eval()
    features = torch.randn(2, 32, 3, 5)
    largest = features.flatten(2).max(2).values[:, :, None, None]
    torch.testing.assert_close(model.forward_head(features), model.forward_head(largest))


def test_without_a_pool_each_position_is_answered_by_itself():
    model, features = MaxViT(dataclasses.replace(TINY, num_classes=0)).eval(), torch.randn(2, 32, 3, 5)
    alone = [model.forward_head(features[:, :, i, j, None, None]) for i in range(3) for j in range(5)]
    model.set_pool("")
    torch.testing.assert_close(model.forward_head(features), torch.stack(alone, 2).unflatten(2, (3, 5)))
    with pytest.raises(MaxViTError, match="7 classes need a pool before them"):
        model.reset_classifier(7)
    assert (model.config.num_classes, model.config.pool) == (0, "")


def test_new_classifier_keeps_the_rest():
    model, images = MaxViT(TINY, class_names=list("abcde")).eval(), torch.randn(1, 3, 32, 48)
    before = model.forward_head(model.forward_features(images), pre_logits=True)
    model.reset_classifier(7, class_names=list("ABCDEFG"))
    assert model(images).shape == (1, 7)
    assert (model.config.num_classes, model.class_names) == (7, list("ABCDEFG"))
    model.reset_classifier(0)
    assert torch.equal(model(images), before)
    assert model.class_names is None
    with pytest.raises(MaxViTError, match="2 class names were given for 3 classes"):
        model.reset_classifier(3, class_names=["x", "y"])


def test_gradient_checkpointing_changes_neither_gradients_nor_statistics():
    plain, images = MaxViT(dataclasses.replace(TINY, drop_path_rate=0.4)).train(), torch.randn(3, 3, 37, 41)
    thrifty = copy.deepcopy(plain)
    thrifty.set_gradient_checkpointing()
    for model in (plain, thrifty):
        torch.manual_seed(7)
        model(images).square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), thrifty.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), b in zip(plain.named_buffers(), thrifty.buffers(), strict=True):
        assert torch.equal(a, b), name


def test_gradient_checkpointing_keeps_less():
    kept = []
    for thrifty in (False, True):
        model, total = MaxViT(TINY).train(), []
        model.set_gradient_checkpointing(thrifty)
        with torch.autograd.graph.saved_tensors_hooks(lambda t, total=total: total.append(t.numel()) or t, lambda t: t):
            model(torch.randn(2, 3, 64, 64))
        kept.append(sum(total))
    assert kept[1] < kept[0] / 3


def test_a_hook_on_a_stage_sees_its_map():
    model, images, seen = MaxViT(TINY).eval(), torch.randn(2, 3, 37, 53), []
    for stage in model.stages:
        stage.register_forward_hook(lambda module, given, x: seen.append(x))
    maps = model.forward_pyramid(images)
    assert len(seen) == 4
    assert all(map(torch.equal, seen, maps))


def test_what_is_put_in_a_stages_place_is_called():
    class Doubled(nn.Module):
        def __init__(self, stage: nn.Module) -> None:
            super().__init__()
            self.stage = stage

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * self.stage(x)

    model, images = MaxViT(TINY).eval(), torch.randn(2, 3, 37, 53)
    before = model.forward_features(images)
    model.stages[3] = Doubled(model.stages[3])
    assert torch.equal(model.forward_features(images), 2 * before)


def test_stages_can_be_sharded_each():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        model, images = MaxViT(TINY), torch.randn(2, 3, 32, 48)
        before = model(images)
        mesh = dist.init_device_mesh("cpu", (1,))
        for stage in model.stages:
            fully_shard(stage, mesh=mesh)
        after = model(images)
        after.sum().backward()
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(after, before)
    assert all(p.grad is not None for p in model.parameters())


def test_image_size_scales_windows_and_comes_back_exactly():
    model, images = MaxViT(dataclasses.replace(TINY, image_size=(96, 64))).eval(), torch.randn(1, 3, 96, 64)
    start, tables = model.config, {n: p.clone() for n, p in model.named_parameters() if n.endswith("table")}
    model.set_image_size((161, 97))
    assert model.config.window_size == model.config.grid_size == (6, 4)
    assert model.preprocessing.image_size == (161, 97)
    model.set_image_size((96, 64))
    assert model.config == dataclasses.replace(start, window_size=(3, 2), grid_size=(3, 2))
    assert all(torch.equal(p, tables[n]) for n, p in model.named_parameters() if n in tables)
    assert model(images).shape == (1, 5)


def test_saved_network_comes_back_with_all_it_knows(tmp_path):
    model, images = MaxViT(TINY, class_names=["é", "b", "c", "d", "<e>"]).eval(), torch.randn(2, 3, 37, 53)
    model.provenance = {"command": "maxvit train", "epoch": 3}
    model.save(tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded(images), model(images))
    for name in ("config", "preprocessing", "class_names", "provenance"):
        assert getattr(loaded, name) == getattr(model, name)
    assert not loaded.training
    assert all(p.requires_grad for p in loaded.parameters())


def test_channels_of_images_are_configuration():
    model = MaxViT(dataclasses.replace(TINY, in_channels=5)).eval()
    assert model(torch.randn(2, 5, 32, 48)).shape == (2, 5)


def test_gradients_reach_every_parameter():
    model = MaxViT(TINY).train()
    model(torch.randn(3, 3, 75, 43)).square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.randn(1, 32, 48, 3), r"looks like \(B, H, W, C\): permute\(0, 3, 1, 2\)"),
        (torch.randn(3, 32, 48), r"add a batch axis: images\[None\]"),
        (torch.randn(1, 1, 32, 48), r"images have shape \(1, 1, 32, 48\), but the network takes \(B, 3, H, W\)$"),
        (torch.randn(1, 3, 31, 48), "images are 31 x 48 pixels; the smallest side is 32: resize them"),
        (torch.randn(1, 3, 32, 48).double(), r"images are torch.float64 and the weights torch.float32: use images\.to"),
        (torch.zeros(1, 3, 32, 48, dtype=torch.uint8), "images are torch.uint8; the network takes normalised floats"),
    ],
)
def test_images_that_do_not_fit_are_named(images, says):
    with pytest.raises(MaxViTError, match=says):
        MaxViT(TINY)(images)


@pytest.mark.parametrize("any_size", [False, True])
@pytest.mark.parametrize("hw", [(32, 48), (37, 53), (96, 64)])
def test_no_image_is_an_empty_answer(hw, any_size):
    model, images = MaxViT(TINY).eval(), torch.randn(0, 3, *hw)
    model.set_any_size(any_size)
    assert model(images).shape == (0, 5)
    for stride, x in zip((2, 4, 8, 16, 32), model.forward_pyramid(images, strides=(2, 4, 8, 16, 32)), strict=True):
        assert x.shape == (0, model.pyramid_channels[stride], -(-hw[0] // stride), -(-hw[1] // stride))
    model.reset_classifier(0)
    assert model(images).shape == (0, 32)
    with pytest.raises(MaxViTError, match=r"images have shape \(0, 1, 32, 48\), but the network takes"):
        model(torch.randn(0, 1, 32, 48))


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("dialect", [OFFICIAL, TORCHVISION])
def test_no_image_is_an_empty_answer_of_every_configuration(pool, dialect):
    model = MaxViT(dataclasses.replace(TINY, pool=pool, dialect=dialect)).eval()
    assert model(torch.randn(0, 3, 41, 67)).shape == (0, 5)


def test_autocast_decides_the_type_itself():
    with torch.autocast("cpu", torch.bfloat16):
        assert MaxViT(TINY)(torch.randn(2, 3, 32, 48).bfloat16()).shape == (2, 5)


@pytest.mark.parametrize("image_size", ["64", 64.0, (64,), (64, 64, 64)])
def test_a_size_that_is_none_is_refused(image_size):
    with pytest.raises(MaxViTError, match=r"it takes a side in pixels, or \(height, width\)"):
        create_model("maxvit_micro", image_size=image_size)


def test_preprocessing_gives_as_many_channels_as_the_network_takes():
    model = create_model("maxvit_micro", in_channels=1).eval()
    assert len(model.preprocessing.mean) == len(model.preprocessing.std) == 1
    assert model(preprocess(model, np.zeros((37, 41, 3), np.uint8))).shape == (1, 10)


@pytest.mark.parametrize("take", [optimize, accelerate, Predictor, lambda own: export_model(own, "own.onnx")])
def test_network_of_ones_own_is_refused_in_words(take):
    with pytest.raises(MaxViTError, match=r"a MaxSA was given; only a whole network .* torch.compile"):
        take(MaxSA(32))

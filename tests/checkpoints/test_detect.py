"""One door for every format: what a file is, and what it did not say."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from maxvit import (
    MaxViT,
    MaxViTConfig,
    MaxViTError,
    Predictor,
    create_model,
    export_model,
    load,
    load_model,
    storage,
)
from maxvit.checkpoints.timm import save_for_timm, to_timm
from maxvit.config import Preprocessing, official_preprocessing
from maxvit.tasks.classification.loss import ClassificationLosses
from official import CHECKPOINT

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(4, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=3, image_size=(64, 64),
    window_size=(2, 2), grid_size=(2, 2),
)  # fmt: skip


def test_each_format_says_where_it_comes_from(tmp_path):
    model = MaxViT(CONFIG).eval()
    model.provenance = {"data": "flowers"}
    model.save(tmp_path / "ours.safetensors")
    save_for_timm(model, tmp_path / "timm.safetensors")
    found = [load_model(tmp_path / name).provenance for name in ("ours.safetensors", "timm.safetensors")]
    assert found == [{"data": "flowers"}, {"converted_from": "timm timm.safetensors"}]


def test_what_an_official_checkpoint_does_not_say_is_told():
    said = load_model(CHECKPOINT).provenance
    assert said["converted_from"] == f"TensorFlow {CHECKPOINT.name}"
    assert said["assumed"] == "made for 224 pixels, which official files do not say; image_size sets another"
    assert load_model(CHECKPOINT).preprocessing == official_preprocessing((224, 224))


@pytest.mark.parametrize("side", [224, 384])
def test_preprocessing_of_an_official_checkpoint_follows_the_size_it_is_said_to_have(side):
    model = load_model(CHECKPOINT, image_size=side)
    assert "assumed" not in model.provenance
    assert model.config.image_size == (side, side)
    assert model.preprocessing == official_preprocessing((side, side))
    assert model.preprocessing.mean[0] == (0.485 if side == 224 else 0.5)


def test_other_formats_keep_their_preprocessing_at_another_size(tmp_path):
    own = Preprocessing(image_size=(64, 64), fit="squash", mean=(0.1, 0.2, 0.3))
    MaxViT(CONFIG, own).save(tmp_path / "ours.safetensors")
    found = load_model(tmp_path / "ours.safetensors", image_size=96).preprocessing
    assert found == dataclasses.replace(own, image_size=(96, 96))


def test_another_network_is_refused_by_the_first_names_it_holds(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(MaxViTError) as raised:
        load_model(tmp_path / "resnet18.pth")
    assert str(raised.value) == (
        f"{tmp_path / 'resnet18.pth'} is not a MaxViT that is known (it holds conv1.weight, bn1.weight, bn1.bias); "
        "readable are files that maxvit wrote, official TensorFlow checkpoints, and weights of timm and torchvision"
    )


def test_a_file_without_tensors_is_refused(tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(MaxViTError, match=r"is not a MaxViT that is known \(it holds no tensors\)"):
        load_model(tmp_path / "empty.safetensors")


def test_raw_weights_exist_beside_averaged_ones_only(tmp_path):
    MaxViT(CONFIG).save(tmp_path / "ours.safetensors")
    with pytest.raises(
        MaxViTError, match=r"ours\.safetensors: it holds one set of weights, and not averaged and raw ones"
    ):
        load_model(tmp_path / "ours.safetensors", ema=False)
    raw, averaged = MaxViT(CONFIG).state_dict(), MaxViT(CONFIG).state_dict()
    torch.save({"state_dict": to_timm(raw, CONFIG), "state_dict_ema": to_timm(averaged, CONFIG)}, tmp_path / "timm.pth")
    for ema, wanted, said in ((True, averaged, "averaged"), (False, raw, "raw")):
        model = load_model(tmp_path / "timm.pth", ema=ema)
        assert all(t.equal(wanted[name]) for name, t in model.state_dict().items())
        assert model.provenance == {"converted_from": "timm timm.pth", "weights": said}


@pytest.mark.parametrize("config", [{"depths": [1, 1, 10**9, 1]}, {"depths": [10**6] * 4}])
def test_a_description_of_more_blocks_than_tensors_is_refused_before_they_are_made(tmp_path, config):
    model = MaxViT(CONFIG)
    metadata = model.metadata()
    storage.save(tmp_path / "f", model.state_dict(), {**metadata, "config": {**metadata["config"], **config}})
    with pytest.raises(MaxViTError, match=r"describes \d+ blocks and holds \d+ tensors: copy it again$"):
        load_model(tmp_path / "f")


@pytest.mark.parametrize(
    "config",
    [
        {"channels": [2**20, 2**30, 2**40, 2**50]},
        {"num_classes": 2**40},
        {"expansion": 2**40},
        {"bias_table_size": [2**31 - 1, 2**31 - 1]},
        {"in_channels": 10**30},
    ],
)
def test_a_description_of_an_enormous_network_takes_no_memory(tmp_path, config):
    model = MaxViT(CONFIG)
    metadata = model.metadata()
    storage.save(tmp_path / "f", model.state_dict(), {**metadata, "config": {**metadata["config"], **config}})
    with pytest.raises(
        MaxViTError, match=r"cannot make so large a network|does not hold the network that it describes"
    ):
        load_model(tmp_path / "f")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_a_type_that_is_none_are_refused(tmp_path, dtype):
    model = MaxViT(CONFIG)
    state = {**model.state_dict(), "head.dense.bias": torch.zeros(8).to(dtype)}
    storage.save(tmp_path / "f", state, model.metadata())
    with pytest.raises(MaxViTError, match=rf"head\.dense\.bias has type {dtype}, wanted is torch\.float32"):
        load_model(tmp_path / "f")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("write", ["ours", "timm", "pickle"])
def test_a_network_is_float32_whatever_its_file_is_unless_another_type_is_asked_for(tmp_path, dtype, write):
    model = MaxViT(CONFIG).to(dtype)
    if write == "ours":
        model.save(tmp_path / "f")
    elif write == "timm":
        save_for_timm(model, tmp_path / "f")
    else:
        torch.save({"model": model.state_dict()}, tmp_path / "f")
    wanted = model.state_dict()
    for given, found in (({}, torch.float32), ({"dtype": dtype}, dtype)):
        state = load_model(tmp_path / "f", **given).state_dict()
        assert {t.dtype for t in state.values()} == {found, torch.int64}
        assert all(t.equal(wanted[name].to(t.dtype)) for name, t in state.items())


@pytest.mark.parametrize(
    "load", [load_model, load, MaxViT.load, MaxViT.from_pretrained,
             lambda path, dtype: create_model("maxvit_micro", pretrained=path, dtype=dtype)],
)  # fmt: skip
def test_every_way_to_load_takes_a_type_and_refuses_what_is_no_type_of_weights(tmp_path, load):
    create_model("maxvit_micro").bfloat16().save(tmp_path / "f.safetensors")
    assert load(tmp_path / "f.safetensors", dtype=torch.float16).any_weight().dtype == torch.float16
    with pytest.raises(MaxViTError, match=r"dtype is torch\.int8; choose one of torch\.float32, torch\.float16"):
        load(tmp_path / "f.safetensors", dtype=torch.int8)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_of_a_16_bit_file_answers_is_exported_and_learns(tmp_path, dtype):
    MaxViT(CONFIG).to(dtype).save(tmp_path / "f.safetensors")
    (answer,) = Predictor(tmp_path / "f.safetensors")(np.zeros((40, 40, 3), np.uint8))
    assert float(answer.value.sum()) == pytest.approx(1)
    model = load_model(tmp_path / "f.safetensors")
    assert export_model(model, tmp_path / "f.onnx").verification.relative < 1e-4
    losses = ClassificationLosses(model.train())(torch.randn(2, 3, 64, 64), torch.tensor([0, 1]))
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())

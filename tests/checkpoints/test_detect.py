"""One door for every format: what a file is, and what it did not say."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from maxvit import MaxViT, MaxViTConfig, MaxViTError, load_model, storage
from maxvit.checkpoints.detect import read_checkpoint
from maxvit.checkpoints.timm import save_for_timm
from maxvit.config import Preprocessing, official_preprocessing
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
        f"{tmp_path / 'resnet18.pth'} is no MaxViT that is known (it holds conv1.weight, bn1.weight, bn1.bias); "
        "readable are files that maxvit wrote, official TensorFlow checkpoints, and weights of timm and torchvision"
    )


def test_a_file_without_tensors_is_refused(tmp_path):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(MaxViTError, match=r"is no MaxViT that is known \(it holds no tensors\)"):
        load_model(tmp_path / "empty.safetensors")


def test_raw_weights_exist_in_official_checkpoints_only(tmp_path):
    MaxViT(CONFIG).save(tmp_path / "ours.safetensors")
    with pytest.raises(MaxViTError, match="holds one set of weights; ema=False is for official TensorFlow checkpoints"):
        read_checkpoint(tmp_path / "ours.safetensors", ema=False)


@pytest.mark.parametrize("config", [{"depths": [1, 1, 10**9, 1]}, {"depths": [10**6] * 4}])
def test_a_description_of_more_blocks_than_tensors_is_refused_before_they_are_made(tmp_path, config):
    model = MaxViT(CONFIG)
    metadata = model.metadata()
    storage.save(tmp_path / "f", model.state_dict(), {**metadata, "config": {**metadata["config"], **config}})
    with pytest.raises(MaxViTError, match=r"describes \d+ blocks and holds \d+ tensors$"):
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
    with pytest.raises(MaxViTError, match=r"too large to exist|does not hold the network that it describes"):
        load_model(tmp_path / "f")


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_weights_of_a_type_that_is_none_are_refused(tmp_path, dtype):
    model = MaxViT(CONFIG)
    state = {**model.state_dict(), "head.dense.bias": torch.zeros(8).to(dtype)}
    storage.save(tmp_path / "f", state, model.metadata())
    with pytest.raises(MaxViTError, match=rf"head\.dense\.bias has type {dtype}, wanted is torch\.float32"):
        load_model(tmp_path / "f")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_another_precision_are_kept_as_they_are(tmp_path, dtype):
    model = MaxViT(CONFIG).to(dtype)
    model.save(tmp_path / "f")
    assert {p.dtype for p in load_model(tmp_path / "f").parameters()} == {dtype}

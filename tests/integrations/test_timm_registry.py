"""`timm.create_model` makes our networks, by names that timm cannot have."""

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import FeatureInfo, save_for_hf

import maxvit.integrations.timm  # noqa: F401
from maxvit import MaxViT, MaxViTError, create_model, list_models
from maxvit.checkpoints.published import PUBLISHED

MICRO = "maxvit-micro"


def test_every_variant_and_each_of_its_weights_is_listed():
    assert sorted(timm.list_models("maxvit-*")) == sorted(name.replace("_", "-") for name in list_models())
    tagged = {f"{row.variant.replace('_', '-')}.{row.tag}" for row in PUBLISHED}
    assert tagged == {name for name in timm.list_pretrained("maxvit-*") if "." in name}
    assert timm.get_pretrained_cfg("maxvit-tiny").tag == "in1k-224"  # as pretrained=True means in maxvit.create_model


def test_no_name_can_be_one_of_timms_own():
    others = [name for name in timm.list_models() if name not in timm.list_models(module="timm")]
    assert all(name.isidentifier() for name in others)
    assert not any(name.isidentifier() for name in timm.list_models("maxvit-*"))


@pytest.mark.parametrize("name", [MICRO, f"{MICRO}.formulas-32"])
def test_pretrained_weights_are_those_that_come_with_the_package(name):
    theirs, ours = timm.create_model(name, pretrained=True), create_model("maxvit_micro", pretrained=True)
    images = torch.randn(2, 3, 37, 50)
    assert isinstance(theirs, MaxViT)
    assert torch.equal(theirs(images), ours(images))
    assert (theirs.preprocessing, theirs.num_classes) == (ours.preprocessing, 0)


def test_arguments_of_timm_reach_the_network():
    words = {"num_classes": 3, "in_chans": 1, "img_size": (64, 96), "global_pool": "max", "drop_path_rate": 0.3}
    config = timm.create_model(MICRO, **words, output_stride=32).config
    assert (config.num_classes, config.in_channels, config.image_size) == (3, 1, (64, 96))
    assert (config.pool, config.drop_path_rate) == ("max", 0.3)


def test_tag_without_pretrained_makes_the_network_of_those_weights():
    with torch.device("meta"):
        config = timm.create_model("maxvit-base.in21k-224").config
        assert (config.num_classes, config.image_size) == (21843, (224, 224))
        config = timm.create_model("maxvit-tiny.in1k-384", num_classes=7).config
        assert (config.num_classes, config.window_size) == (7, (12, 12))


def test_features_are_described_by_timms_own_class():
    network = timm.create_model(MICRO, pretrained=True, features_only=True, out_indices=(1, 3))
    assert isinstance(network.feature_info, FeatureInfo)
    assert network.feature_info.get_dicts(["num_chs", "reduction"]) == [
        {"num_chs": 32, "reduction": 4},
        {"num_chs": 96, "reduction": 16},
    ]
    assert [x.shape[1:] for x in network(torch.randn(2, 3, 37, 50))] == [(32, 10, 13), (96, 3, 4)]


def test_library_that_builds_on_timm_finds_them():
    unet = smp.Unet(f"tu-{MICRO}", encoder_weights=None, classes=2, encoder_depth=5).eval()
    assert unet(torch.randn(1, 3, 64, 96)).shape == (1, 2, 64, 96)


def test_folder_that_timm_writes_comes_back_with_its_preprocessing(tmp_path):
    network = timm.create_model(MICRO, pretrained=True, num_classes=5, in_chans=1).eval()
    save_for_hf(network, tmp_path, safe_serialization=True)
    back = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.randn(2, 1, 37, 50)
    assert torch.equal(back(images), network(images))
    assert back.preprocessing == network.preprocessing


def test_file_of_ones_own_is_read(tmp_path):
    network = create_model("maxvit_micro", num_classes=4).eval()
    network.save(tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")}
    back = timm.create_model(MICRO, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    images = torch.randn(2, 3, 37, 50)
    assert torch.equal(back(images), network(images))


def test_weights_in_memory_are_refused_in_words():
    with pytest.raises(MaxViTError, match="holds a state_dict: leave pretrained out, and call load_state_dict"):
        timm.create_model(MICRO, pretrained=True, pretrained_cfg_overlay={"state_dict": {}})


def test_timms_transform_is_made_for_registered_networks():
    network = timm.create_model(MICRO, pretrained=True)
    assert create_transform(**resolve_data_config(model=network))(Image.new("RGB", (70, 50))).shape == (3, 32, 32)

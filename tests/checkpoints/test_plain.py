"""Our own tensors without a description: the network is known by names and shapes, and what is assumed is said."""

import dataclasses

import pytest
import torch
from huggingface_hub import save_torch_state_dict
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel

from maxvit import MaxViT, MaxViTConfig, MaxViTError, load, load_model, storage
from maxvit.checkpoints.plain import assumed, infer_config
from maxvit.config import TORCHVISION, VARIANTS

CONFIG = MaxViTConfig(
    stem_channels=8, channels=(12, 20, 28, 36), depths=(1, 2, 1, 1), head_dim=4, expansion=3, se_ratio=0.25,
    num_classes=5, in_channels=1, image_size=(64, 96), window_size=(2, 3), grid_size=(2, 3),
)  # fmt: skip


@pytest.fixture
def model():
    return MaxViT(CONFIG, class_names=list("abcde")).eval()


def same(found, wanted):
    theirs = wanted.state_dict()
    return list(found.state_dict()) == list(theirs) and all(t.equal(theirs[n]) for n, t in found.state_dict().items())


@pytest.mark.parametrize("write", [torch.save, save_file])
def test_a_plain_state_dict_is_read_and_says_what_was_assumed(model, tmp_path, write):
    write(model.state_dict(), tmp_path / "weights")
    found = load_model(tmp_path / "weights")
    assert same(found, model)
    assert found.config == CONFIG
    assert found.preprocessing == model.preprocessing
    assert found.class_names is None
    assert found.provenance["converted_from"] == "maxvit weights"
    assert found.provenance["assumed"] == (
        "one class of many (softmax), windows as large as the bias tables say, block and grid attention in this order, "
        "average pooling and the official preprocessing, which are not stored"
    )


def test_weights_of_imagenet_21k_are_assumed_to_answer_each_class_by_itself():
    assert assumed(dataclasses.replace(CONFIG, multi_label=True)).startswith("each class by itself (sigmoid), windows")


def test_wrapped_by_compile_and_several_gpus_it_is_the_same(model, tmp_path):
    state = {f"module._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    assert same(load_model(tmp_path / "weights.safetensors"), model)


@pytest.mark.parametrize(
    "change",
    [
        {"num_classes": 0},
        {"num_classes": 21_843, "multi_label": True},  # ImageNet-21K's
        {"se_ratio": 0.1, "channels": (8, 20, 28, 36)},  # 0.8 channels of the first stage are one
        {"se_ratio": 0.5},
        {"head_dim": 2},
        {"dialect": TORCHVISION, "channels": (8, 20, 28, 36)},
        {"depths": (2, 1, 3, 1), "expansion": 4},
        {"window_size": (1, 1), "grid_size": (1, 1), "image_size": (32, 32), "bias_table_size": (1, 1)},
    ],
)
def test_every_shape_tells_its_configuration(change):
    config = dataclasses.replace(CONFIG, **change)
    outline = MaxViT.outline(config).state_dict()
    found = infer_config({name: tuple(t.shape) for name, t in outline.items()})
    assert {n: t.shape for n, t in MaxViT.outline(found).state_dict().items()} == {
        n: t.shape for n, t in outline.items()
    }
    assert dataclasses.replace(found, se_ratio=config.se_ratio) == config


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_recognised(name):
    outline = MaxViT.outline(VARIANTS[name]).state_dict()
    assert infer_config({name: tuple(t.shape) for name, t in outline.items()}) == VARIANTS[name]


def test_another_size_can_be_said(model, tmp_path):
    model.set_image_size(224)
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    found = load_model(tmp_path / "weights.pth", image_size=224)
    assert found.config == model.config
    assert found.preprocessing == MaxViT(model.config).preprocessing  # at 224 it takes another mean


def test_tensors_that_are_missing_or_left_over_are_named(model, tmp_path):
    state = model.state_dict()
    del state["stages.1.1.mbconv.expand.weight"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(MaxViTError, match=r"stages\.1\.1\.mbconv\.expand\.weight is missing"):
        load_model(tmp_path / "weights.pth")


def test_a_folder_that_was_saved_is_read_also_where_its_weights_were_written_anew(model, tmp_path):
    model.provenance = {"data": "letters"}
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    for _ in range(2):
        for found in (load_model(tmp_path), load(path), MaxViT.from_pretrained(tmp_path)):
            assert same(found, model)
            assert found.metadata() == model.metadata()
        save_file(load_file(path), path, {"format": "pt"})  # as other programs do


def test_a_folder_without_a_description_that_can_be_used_is_read_by_names_and_shapes(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    for text in (None, "{", "[]", '{"architecture": "maxvit_tiny"}'):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        assert load_model(tmp_path).config == CONFIG


@pytest.mark.parametrize("described", [True, False])
def test_weights_in_several_files_are_read_by_their_index(model, tmp_path, described):
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    if not described:
        (tmp_path / "config.json").unlink()
    save_torch_state_dict(model.state_dict(), tmp_path, max_shard_size=20_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        assert same(load_model(path), model)
        assert load_model(path).class_names == (list("abcde") if described else None)
    next(tmp_path.glob("*-00002-*")).unlink()
    sentence = (
        r"model-00002-of-\d+\.safetensors does not exist, and model\.safetensors\.index\.json names it: copy all "
        r"of its \d+ files next to it"
    )
    for read in (load_model, storage.load_metadata):
        with pytest.raises(MaxViTError, match=sentence):
            read(tmp_path)


@pytest.mark.parametrize("index", ["", "{}", "[]", '{"weight_map": {}}', '{"weight_map": {"a": "../b"}}', "[" * 9999])
def test_an_index_that_is_none_is_named(tmp_path, index):
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(MaxViTError, match=r"index\.json is not an index of safetensors files: copy it again"):
        load_model(tmp_path)


def test_the_average_that_pytorch_keeps_comes_before_the_network(model, tmp_path):
    average = AveragedModel(model)
    for parameter in model.parameters():
        torch.nn.init.ones_(parameter)
    torch.save({"model": model.state_dict(), "model_ema": average.state_dict()}, tmp_path / "model.pth")
    found = load_model(tmp_path / "model.pth")
    assert same(found, average.module)
    assert found.provenance["weights"] == "averaged"

"""What stands for a checkpoint: paths, published weights by name, repositories of the hub."""

from pathlib import Path

import pytest

from fake_hub import REPOSITORY, put, put_published
from maxvit import MaxViT, MaxViTConfig, MaxViTError, load, load_model
from maxvit.checkpoints.class_names import imagenet_names
from maxvit.checkpoints.sources import find_by_name, locate


@pytest.fixture
def on_hub(tmp_path, hub_cache):
    return put_published(hub_cache, tmp_path)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("maxvit_tiny", "timm/maxvit_tiny_tf_224.in1k"),
        ("maxvit_tiny:in1k-384", "timm/maxvit_tiny_tf_384.in1k"),
        ("maxvit_base:in21k", "timm/maxvit_base_tf_224.in21k"),
        ("maxvit_xlarge", "timm/maxvit_xlarge_tf_384.in21k_ft_in1k"),
        ("maxvit_small_tf_512", "timm/maxvit_small_tf_512.in1k"),
        ("timm/maxvit_small_tf_512.in1k", "timm/maxvit_small_tf_512.in1k"),
        ("hf_hub:timm/maxvit_small_tf_512.in1k", "timm/maxvit_small_tf_512.in1k"),
        ("maxvit_t", "https://download.pytorch.org/models"),
    ],
)
def test_published_weights_have_names(name, place):
    assert find_by_name(name).place == place


@pytest.mark.parametrize("name", ["runs/folder", "best.safetensors", "owner/name", "resnet50"])
def test_other_names_are_not_published_weights(name):
    assert find_by_name(name) is None


@pytest.mark.parametrize("read", [load_model, load])
@pytest.mark.parametrize("name", ["maxvit_tiny", "maxvit_tiny:in1k-224", "maxvit_tiny_tf_224.in1k", REPOSITORY])
def test_published_weights_are_read_by_name(read, name, on_hub):
    network = read(name)
    assert network.class_names[:2] == ["tench", "goldfish"]
    assert network.provenance["source"] == f"https://huggingface.co/{REPOSITORY}"


def test_any_repository_is_read_by_name(tmp_path, hub_cache):
    config = MaxViTConfig(stem_channels=4, channels=(8, 8, 8, 8), depths=(1, 1, 1, 1), head_dim=4, num_classes=2)
    file = tmp_path / "model.safetensors"
    MaxViT(config, class_names=["a", "b"]).save(file)
    put(hub_cache, "owner/name", file)
    assert load("owner/name").class_names == ["a", "b"]


def test_path_that_exists_goes_before_a_name(tmp_path, on_hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("maxvit_tiny").mkdir()
    assert locate("maxvit_tiny").path == Path("maxvit_tiny")


def test_name_in_a_folder_that_is_here_is_a_path(tmp_path, hub_cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    with pytest.raises(MaxViTError, match="runs/none does not exist"):
        load("runs/none")


def test_files_of_weights_say_nothing_of_classes(on_hub):
    assert load_model(on_hub).class_names is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("maxvit_tiny:in1k", "maxvit_tiny:in1k may mean in1k-224, in1k-384, in1k-512: give one of them"),
        ("maxvit_tiny:in1k-385", "no weights 'in1k-385' of maxvit_tiny are published; there are in1k-224"),
        ("maxvit_tinny", "maxvit_tinny is not a file or a folder here, nor .* did you mean 'maxvit_tiny'?"),
        ("photos", "photos is not a file or a folder here, nor the name of published weights: maxvit list"),
        ("owner/none", "owner/none is not a file or a folder here; as a repository: .* is not in its cache"),
        ("/owner/none", "/owner/none does not exist"),
        ("none.safetensors", "none.safetensors does not exist"),
        ("maxvit_base", "is not in its cache .*: download https://.* elsewhere, .* pass its path"),
    ],
)
def test_name_that_stands_for_nothing_is_said_to(name, said, hub_cache):
    with pytest.raises(MaxViTError, match=said):
        load_model(name)


@pytest.mark.parametrize("classes", [1000, 11_821, 21_841, 21_843])
def test_classes_of_imagenet_have_names_of_their_own(classes):
    assert len(set(imagenet_names(classes))) == classes


def test_other_classes_have_none():
    assert imagenet_names(7) is None


def test_what_is_made_of_published_weights_is_written_here(tmp_path, on_hub):
    assert locate("maxvit_tiny").default_name(".onnx") == Path("maxvit_tiny-in1k-224.onnx")
    assert locate(on_hub).default_name(".onnx") == tmp_path / "model.onnx"

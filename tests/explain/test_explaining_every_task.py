"""The backbone of every task's network can be looked into; what needs a class says so where there is none."""

import json

import numpy as np
import pytest
import torch
from networks import opinionated
from PIL import Image

from every_task import COUNTING, OTHERS, TASKS, network_of
from maxvit.cli import main
from maxvit.errors import MaxViTError
from maxvit.explain.attention_maps import attention_maps
from maxvit.explain.explain_image import explain_image
from maxvit.explain.methods import METHODS
from maxvit.explain.receptive_field import receptive_field
from maxvit.explain.rollout import rollout
from maxvit.explain.token_attention import attention_at
from maxvit.inference.predictor import Predictor
from maxvit.tasks import load
from maxvit.tasks.network import backbone_of, last_stride

WITH_A_CLASS = sorted(set(METHODS) - {"attention", "rollout"})


@pytest.fixture(scope="module", params=list(TASKS))
def network(request):
    return opinionated(network_of(request.param))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("method", [rollout, attention_maps, lambda *args: attention_at(*args, point=(50, 20))])
def test_what_needs_no_class_is_that_of_the_backbone_up_to_the_head_s_last_map(network, method):
    image, backbone = torch.randn(3, 64, 96), backbone_of(network)
    stages = last_stride(network).bit_length() - 2
    found, alone = method(network, image), method(backbone, image)
    assert len(found) * len(backbone.stages) == len(alone) * stages
    if method is not rollout or stages == len(backbone.stages):
        for ours, wanted in zip(found, alone, strict=False):
            values = [x.values if hasattr(x, "values") else x for x in (ours, wanted)]
            assert np.array_equal(*values)


def test_rollout_of_a_head_on_an_early_map_begins_there():
    """Each stage's map has a mean of 1, also where the last stage is not used."""
    found = rollout(network_of(COUNTING, {"stride": 8}), torch.randn(3, 64, 96))
    assert [m.shape for m in found] == [(16, 24), (8, 12)]
    assert [m.mean() for m in found] == pytest.approx([1, 1], abs=1e-5)


def test_a_layer_that_the_head_does_not_see_is_not_there():
    network, image = network_of(COUNTING, {"stride": 8}), torch.randn(3, 64, 96)
    with pytest.raises(MaxViTError, match=r"no attention layer has stage 3: .* stages 1 to 2 have 1, 1 blocks"):
        attention_at(network, image, (5, 5), stage=3)


def test_the_receptive_field_is_that_of_the_backbone(network):
    images = torch.randn(1, 3, 64, 96)
    assert np.array_equal(receptive_field(network, images, 2), receptive_field(backbone_of(network), images, 2))


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("method", WITH_A_CLASS)
def test_what_needs_a_class_is_refused_with_what_needs_none(name, method):
    with pytest.raises(
        MaxViTError, match=r"gives an image as a whole no class .* use attention or rollout, or a point"
    ):
        METHODS[method](network_of(name), torch.randn(3, 64, 64), None)


def test_an_image_is_explained_with_the_prediction_of_the_task(network, photo, tmp_path):
    found = explain_image(network, photo, tmp_path / "out", point=(3, 40))
    (wanted,) = Predictor(network)(photo)
    assert found.prediction.to_json() == wanted.to_json()
    has_class = found.explained is not None
    methods = ["rollout", "class-rollout"] if has_class else ["rollout"]
    assert has_class == (wanted.task.name == "classification")
    names = [f"{name}.{ending}" for name in (*methods, "point") for ending in ("png", "svg")]
    assert [path.name for path in found.files] == ["picture.png", *names, "maps.npz"]
    with Image.open(tmp_path / "out" / "picture.png") as picture:
        assert (picture.height, picture.width) == found.size


@pytest.mark.parametrize("options", [{"score": True}, {"target": 0}, {"methods": ["rollout", "gradcam"]}])
def test_nothing_is_written_where_a_class_is_missing(photo, tmp_path, options):
    with pytest.raises(MaxViTError, match="a network for segmentation gives an image as a whole no class"):
        explain_image(network_of("segmentation"), photo, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", OTHERS)
def test_the_command_takes_a_checkpoint_of_any_task(name, photo, tmp_path, capsys):
    network_of(name).save(tmp_path / "a.safetensors")
    words = ["explain", str(tmp_path / "a.safetensors"), str(photo), "--out", str(tmp_path / "out"), "--task", name]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (wanted,) = Predictor(load(tmp_path / "a.safetensors"))(photo)
    assert (found["task"], found["summary"], found["explained"]) == (wanted.task.name, wanted.summary, None)
    assert found["prediction"] == wanted.to_json()
    assert main([*words, "--method", "attention"]) == 0
    assert capsys.readouterr().out.startswith(f"prediction: {wanted.summary}\nwrote ")
    assert main([*words, "--class", "cat"]) == 2
    assert "no class to explain" in capsys.readouterr().err


def test_a_setting_changes_the_prediction_that_is_told(photo, tmp_path, capsys):
    network_of("classification").save(tmp_path / "a.safetensors")
    words = ["explain", str(tmp_path / "a.safetensors"), str(photo), "--out", str(tmp_path / "out"), "--json"]
    assert main([*words, "--set", "top_k=2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["prediction"]["classes"]) == 2
    assert main([*words, "--task", "detection"]) == 2
    assert "is for classification, and --task detection was given" in capsys.readouterr().err

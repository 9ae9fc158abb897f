"""What `save` writes can be read back: another classifier is followed, any other change is refused by name."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from maxvit import MaxViT, MaxViTConfig, MaxViTError, create_model, load
from maxvit.config import Preprocessing
from maxvit.tasks import make_task

CONFIG = MaxViTConfig(
    stem_channels=4, channels=(4, 8, 8, 12), depths=(1, 1, 1, 1), head_dim=4, num_classes=2, image_size=(64, 96),
    window_size=(2, 3), grid_size=(2, 3),
)  # fmt: skip


@pytest.fixture
def model():
    return MaxViT(CONFIG, Preprocessing(image_size=(64, 96)), ["ant", "bee"]).eval()


@pytest.mark.parametrize(
    ("classifier", "given", "classes", "names"),
    [
        (nn.Linear(12, 3), None, 3, None),
        (nn.Linear(12, 3), ["a", "b", "c"], 3, ["a", "b", "c"]),
        (nn.Linear(12, 2), None, 2, ["ant", "bee"]),
        (nn.Identity(), None, 0, None),
    ],
)
def test_another_classifier_is_followed(model, tmp_path, classifier, given, classes, names):
    model.head.classifier = classifier
    model.class_names = given or model.class_names
    model.save_pretrained(tmp_path)
    back = MaxViT.from_pretrained(tmp_path)
    assert (back.config.num_classes, back.class_names, back.preprocessing) == (classes, names, model.preprocessing)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["num_classes"] == classes
    images = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(back(images), model(images), rtol=0, atol=0)


def test_what_the_outputs_of_another_classifier_mean_is_what_reset_classifier_says(model, tmp_path):
    model.config = dataclasses.replace(model.config, multi_label=True, threshold=0.3)
    for classes, multi_label, threshold in ((2, True, 0.3), (3, False, 0.5)):
        model.head.classifier = nn.Linear(12, classes)
        model.save(tmp_path / "m.safetensors")
        found = MaxViT.load(tmp_path / "m.safetensors").config
        assert (found.num_classes, found.multi_label, found.threshold) == (classes, multi_label, threshold)


@pytest.mark.parametrize("classifier", [nn.Linear(12, 3), None])
def test_names_of_another_number_of_classes_are_refused_before_anything_is_written(model, tmp_path, classifier):
    model.head.classifier = classifier or model.head.classifier
    model.class_names = ["a", "b", "c", "d"]
    with pytest.raises(MaxViTError, match=r"4 class names were given for [23] classes"):
        model.save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def with_adapter(model):
    model.stages[0][0].block_attention.attention.qkv.adapter = nn.Linear(4, 2, bias=False)


def without_dense(model):
    model.head.dense = nn.Identity()


OTHERS = {
    "head of two layers": (
        lambda m: setattr(m.head, "classifier", nn.Sequential(nn.Dropout(0.1), nn.Linear(12, 3))),
        r"head\.classifier\.weight is missing; head\.classifier\.bias is missing; head\.classifier\.1\.weight is not",
    ),
    "no bias": (
        lambda m: setattr(m.head, "classifier", nn.Linear(12, 3, bias=False)),
        r"head\.classifier\.bias is missing",
    ),
    "another input": (
        lambda m: setattr(m.head, "classifier", nn.Linear(8, 3)),
        r"head\.classifier\.weight has shape \(3, 8\), wanted is \(3, 12\)",
    ),
    "another stem": (
        lambda m: setattr(m.stem, "conv1", nn.Conv2d(1, 4, 3, 2, 1)),
        r"stem\.conv1\.weight has shape \(4, 1, 3, 3\), wanted is \(4, 3, 3, 3\); stem\.conv1 is Conv2d",
    ),
    "another activation": (
        lambda m: setattr(m.stages[1][0].grid_attention.ffn, "act", nn.ReLU()),
        r"stages\.1\.0\.grid_attention\.ffn\.act is ReLU, wanted is GELU",
    ),
    "an adapter": (with_adapter, r"stages\.0\.0\.block_attention\.attention\.qkv\.adapter\.weight is not part of the"),
    "a layer less": (
        without_dense,
        r"head\.dense\.weight is missing; head\.dense\.bias is missing; head\.dense is Iden",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_any_other_change_is_refused_by_name_and_the_file_that_was_there_stays(model, tmp_path, name):
    change, says = OTHERS[name]
    path = tmp_path / "m.safetensors"
    path.write_text("before")
    change(model)
    with pytest.raises(MaxViTError, match=rf"has other layers than its configuration describes, .*: {says}"):
        model.save(path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("m.safetensors", "before")]


def test_what_cannot_be_saved_makes_no_repository(model, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", lambda **_: pytest.fail("the hub was asked"))
    without_dense(model)
    with pytest.raises(MaxViTError, match="has other layers than its configuration describes"):
        model.push_to_hub("owner/name")


def test_a_task_s_head_is_followed_where_its_class_names_say_so_and_else_refused(tmp_path):
    path, scores = tmp_path / "a.safetensors", [str(score) for score in range(1, 11)]
    network = make_task({"name": "aesthetics"}).make_network(create_model("maxvit_micro"), scores).eval()
    network.head.scores = nn.Linear(network.head.scores.in_features, 5)
    with pytest.raises(MaxViTError, match=r"head\.scores\.weight has shape \(5, \d+\), wanted is \(10, \d+\)"):
        network.save(path)
    assert not path.exists()
    network.class_names = scores[:5]
    network.save(path)
    images = torch.randn(2, 3, 33, 47)
    torch.testing.assert_close(load(path)(images), network(images), rtol=0, atol=0)

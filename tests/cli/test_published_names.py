"""Published weights by name, in every command that takes a checkpoint."""

import json
from pathlib import Path

import pytest

from fake_hub import put_published
from maxvit import load_model
from maxvit.cli import main
from maxvit.cli.serve import _named, _open


@pytest.fixture
def here(tmp_path, hub_cache, images, monkeypatch):
    """A folder with one image, in which commands run, and a hub that has `maxvit_tiny`."""
    put_published(hub_cache, tmp_path)
    monkeypatch.chdir(tmp_path)
    Path("image.png").write_bytes(next(images.rglob("*.png")).read_bytes())
    return tmp_path


def test_predict_names_a_class_of_imagenet(here, capsys):
    assert main(["predict", "maxvit_tiny", "image.png", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["classes"][0]["class"] in load_model("maxvit_tiny").class_names


def test_predictions_go_into_a_file(here):
    assert main(["predict", "maxvit_tiny:in1k-224", "image.png", "--out", "some.csv"]) == 0
    assert Path("some.csv").is_file()


def test_evaluate_refuses_data_of_other_classes(here, images, capsys):
    assert main(["evaluate", "maxvit_tiny", str(images)]) == 2
    assert "class" in capsys.readouterr().err


def test_explain_draws(here):
    assert main(["explain", "maxvit_tiny", "image.png", "--out", "why"]) == 0
    assert list(Path("why").iterdir())


def test_export_writes_into_this_folder(here):
    assert main(["export", "maxvit_tiny", "--to", "onnx"]) == 0
    assert Path("maxvit_tiny-in1k-224.onnx").is_file()


def test_convert_writes_our_format(here):
    assert main(["convert", "maxvit_tiny:in1k-224", "ours.safetensors"]) == 0
    assert load_model("ours.safetensors").class_names[0] == "tench"


def test_info_says_where_they_are_from(here, capsys):
    assert main(["info", "maxvit_tiny:in1k-224"]) == 0
    said = capsys.readouterr().out
    assert "source: https://huggingface.co/timm/maxvit_tiny_tf_224.in1k\n" in said
    assert "classes: 1,000, such as tench, goldfish, great white shark, tiger shark, hammerhead\n" in said


def test_served_weights_have_their_name(here):
    models, _ = _open(
        _named(["maxvit_tiny", "other=maxvit_tiny:in1k-224"]), "torch", "cpu", "auto", "none", [], page=False
    )
    assert [*models] == ["maxvit_tiny", "other"]

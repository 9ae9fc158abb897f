"""Shards, lists and several labels, from `maxvit train` to the evaluation."""

import json

import numpy as np
import pytest
from PIL import Image

from maxvit import create_model, load_model
from maxvit.cli import main
from maxvit.data.dataset import LabelledImages
from maxvit.data.transforms import preprocess
from maxvit.tasks import make_task
from maxvit.training.files import read_metrics
from maxvit.training.setup import make_network, settle_value_range
from several import write_list
from small import CLASSES, SETTINGS

SMALL = [word for s in [*SETTINGS, "optimization.epochs=1"] for word in ("--set", s)]


@pytest.fixture
def run(capsys):
    def call(*words):
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return call


def test_shards_are_trained_on_and_evaluated(run, images, tmp_path):
    assert run("shard", images, tmp_path / "shards")[0] == 0
    code, out, err = run("train", tmp_path / "shards", *SMALL, "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 5
    code, out, _ = run("evaluate", tmp_path / "run" / "best.safetensors", tmp_path / "shards", "--json")
    assert (code, json.loads(out)["images"]) == (0, 5)


def listed(images, path, column, cell):
    rows = [f"{p},{cell(p.parent.name)}" for p in sorted(images.rglob("*.png"))]
    path.write_text("\n".join([f"path,{column}", *rows]))
    return path


def test_a_list_is_trained_on_and_evaluated(run, images, tmp_path):
    table = listed(images, tmp_path / "list.csv", "label", str)
    assert run("train", table, *SMALL, "--out", tmp_path / "run")[0] == 0
    code, out, _ = run("evaluate", tmp_path / "run" / "best.safetensors", table, "--json")
    assert (code, json.loads(out)["images"]) == (0, 5)  # those that were held out


def test_soft_labels_are_learned_and_judged_by_their_largest_share(run, images, tmp_path):
    columns = ",".join(f"probability:{name}" for name in CLASSES)
    table = listed(images, tmp_path / "l.csv", columns, lambda c: ",".join("0.8" if c == n else "0.1" for n in CLASSES))
    code, out, err = run("train", table, *SMALL, "--set", "task.mixup=0.8", "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["metrics"]["accuracy"] <= 1


def test_several_labels_need_the_sigmoid_loss_and_are_judged_by_mean_average_precision(run, tmp_path):
    table = write_list(tmp_path / "data", 3)
    code, _, err = run("train", table, *SMALL, "--out", tmp_path / "run")
    assert code == 2
    assert err.splitlines()[-1].startswith("error: the labels of ")
    assert not (tmp_path / "run").exists()
    code, out, err = run("train", table, *SMALL, "--set", "task.loss=sigmoid", "--out", tmp_path / "run")
    assert code == 0, err
    assert out.startswith("mAP ")
    assert (tmp_path / "run" / "report.html").is_file()
    (row,) = read_metrics(tmp_path / "run")
    assert "train_accuracy" not in row
    best = load_model(tmp_path / "run" / "best.safetensors")
    assert (best.config.multi_label, best.config.threshold) == (True, row["val_threshold"])
    code, out, _ = run("evaluate", tmp_path / "run" / "best.safetensors", table, "--all", "--json")
    found = json.loads(out)
    assert (code, found["images"], found["metrics"]["threshold"]) == (0, 12, row["val_threshold"])
    assert [c["positives"] for c in found["classes"]] == [6, 6]


def test_a_sentence_for_a_paper_ends_the_training(run, images, tmp_path):
    _, out, _ = run("train", images, *SMALL, "--out", tmp_path / "run")
    summary = out.splitlines()[1]
    assert summary.startswith("maxvit_micro at 32 x 32, accuracy ")
    for part in (
        "validation images of",
        "epoch 1 of 1, batch 8, seed 0, averaged weights",
        "on 1 CPU thread",
    ):
        assert part in summary


OPTIONS = [
    "model.linear_probe=true",
    "model.frozen_stages=2",
    "model.frozen_batch_norm=true",
    "optimization.layer_decay=0.7",
    "task.class_weights=balanced",
    "task.loss=sigmoid",
    "optimization.schedule=constant",
    "task.mixup=0.8",
]


@pytest.mark.parametrize("setting", OPTIONS)
def test_every_setting_trains(run, images, tmp_path, setting):
    assert run("train", images, *SMALL, "--set", setting, "--out", tmp_path / "run")[0] == 0


@pytest.mark.full
def test_a_compiled_network_trains(run, images, tmp_path):
    code, _, err = run("train", images, *SMALL, "--set", "engine.compile=true", "--out", tmp_path / "run")
    assert code == 0, err
    assert "training by plain PyTorch: it is compiled" in err


def test_the_range_of_12_bit_images_is_measured_once_and_used_by_every_later_command(run, tmp_path):
    names = ("dark", "bright")
    for number in range(4):
        for name, top in zip(names, (1000, 4000), strict=True):
            path = tmp_path / "data" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.linspace(100 + number, top, 64 * 64).astype(np.uint16).reshape(64, 64)).save(path)
    code, _, err = run("train", tmp_path / "data", *SMALL, "--out", tmp_path / "run")
    assert code == 0, err
    assert [line for line in err.splitlines() if "8 bits" in line] == [
        "images of more than 8 bits: 100 is black and 4000 white; data.value_range=[BLACK,WHITE] sets others"
    ]
    spec = load_model(tmp_path / "run" / "best.safetensors").preprocessing
    assert spec.value_range == (100, 4000)
    bright, dark = preprocess(spec, path), preprocess(spec, path.parents[1] / "dark" / "3.png")
    assert (bright.max() - dark.max()) * spec.std[0] > 0.7  # of the range


def test_a_range_that_is_set_is_not_measured(small_recipe):
    recipe = small_recipe("data.value_range=[0,4095]", "data.max_pixels=1000000")
    network = make_network(recipe, ["a", "b"])
    assert settle_value_range(network, LabelledImages([], [], [], [])) == ""
    assert (network.preprocessing.value_range, network.preprocessing.max_pixels) == ((0, 4095), 1_000_000)


def test_the_range_of_a_task_is_measured_too(tmp_path):
    Image.fromarray(np.array([[300, 900]], np.uint16)).save(tmp_path / "a.png")
    backbone = create_model("maxvit_micro", image_size=32, num_classes=2)
    network = make_task({"name": "aesthetics"}).make_network(backbone, [str(score) for score in range(1, 11)])
    assert settle_value_range(network, LabelledImages([tmp_path / "a.png"], [None], [], ["a"])).startswith("images of")
    assert network.preprocessing.value_range == (300, 900)

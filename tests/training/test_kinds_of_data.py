"""Shards, lists and several labels, from `maxvit train` to the evaluation."""

import json

import pytest

from maxvit.cli import main
from maxvit.create import load_model
from maxvit.training.files import read_metrics
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
    code, out, err = run("train", table, *SMALL, "--set", "data.mixup=0.8", "--out", tmp_path / "run", "--json")
    assert code == 0, err
    assert 0 <= json.loads(out)["accuracy"] <= 1


def test_several_labels_need_the_sigmoid_loss_and_are_judged_by_mean_average_precision(run, tmp_path):
    table = write_list(tmp_path / "data", 3)
    code, _, err = run("train", table, *SMALL, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("error: images have several classes each, or none, and optimization.loss is softmax")
    assert not (tmp_path / "run").exists()
    code, out, err = run("train", table, *SMALL, "--set", "optimization.loss=sigmoid", "--out", tmp_path / "run")
    assert code == 0, err
    assert out.startswith("mean average precision ")
    assert (tmp_path / "run" / "report.html").is_file()
    (row,) = read_metrics(tmp_path / "run")
    assert "train_accuracy" not in row
    best = load_model(tmp_path / "run" / "best.safetensors")
    assert (best.config.multi_label, best.config.threshold) == (True, row["val_threshold"])
    code, out, _ = run("evaluate", tmp_path / "run" / "best.safetensors", table, "--json")
    found = json.loads(out)
    assert (code, found["images"], found["threshold"]) == (0, 12, row["val_threshold"])
    assert [c["positives"] for c in found["per_class"]] == [6, 6]


def test_a_sentence_for_a_paper_ends_the_training(run, images, tmp_path):
    _, out, _ = run("train", images, *SMALL, "--out", tmp_path / "run")
    summary = out.splitlines()[1]
    assert summary.startswith("maxvit_micro at 32 x 32, top-1 ")
    for part in (
        "validation images of",
        "1 of 1, best 1 epochs, batch 8, seed 0, averaged weights",
        "1 x 1 CPU threads",
    ):
        assert part in summary


OPTIONS = [
    "model.linear_probe=true",
    "model.frozen_stages=2",
    "model.frozen_batch_norm=true",
    "optimization.layer_decay=0.7",
    "optimization.class_weights=balanced",
    "optimization.loss=sigmoid",
    "optimization.schedule=constant",
    "data.mixup=0.8",
]


@pytest.mark.parametrize("setting", OPTIONS)
def test_every_setting_trains(run, images, tmp_path, setting):
    assert run("train", images, *SMALL, "--set", setting, "--out", tmp_path / "run")[0] == 0


@pytest.mark.full
def test_a_compiled_network_trains(run, images, tmp_path):
    code, _, err = run("train", images, *SMALL, "--set", "engine.compile=true", "--out", tmp_path / "run")
    assert code == 0, err
    assert "training by plain PyTorch: it is compiled" in err

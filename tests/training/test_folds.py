"""Cross-validation: every image is held out once, and predicted by the network that did not learn from it."""

import csv
import json
from dataclasses import replace

import pytest

from maxvit import Predictor
from maxvit.cli import main
from maxvit.data.dataset import LabelledImages
from maxvit.data.folds import hold_out_fold, hold_out_named, named_folds
from maxvit.errors import MaxViTError
from maxvit.training.folds import train_folds
from maxvit.training.setup import load_data
from small import SETTINGS


def drawn(labels):
    return LabelledImages(["x"] * len(labels), labels, ["ant", "bee"], [str(i) for i in range(len(labels))])


def test_every_image_is_in_one_fold_and_classes_are_in_proportion():
    labels = [0] * 12 + [1] * 6
    out = [hold_out_fold(drawn(labels), labels, 3, fold, seed=0)[1] for fold in range(3)]
    assert sorted(int(name) for part in out for name in part.names) == list(range(18))
    assert [part.labels.count(1) for part in out] == [2, 2, 2]


def test_without_a_class_each_it_is_a_plain_draw():
    kept, out = hold_out_fold(drawn([0] * 10), None, 5, 4, seed=0)
    assert (len(kept), len(out)) == (8, 2)


def test_a_class_with_fewer_images_than_folds_is_named():
    with pytest.raises(MaxViTError, match="class 'bee' has 2 images for 3 folds: add some, or take fewer folds"):
        hold_out_fold(drawn([0] * 5 + [1] * 2), [0] * 5 + [1] * 2, 3, 0, seed=0)


def named(cells):
    images = drawn([0, 1] * (len(cells) // 2))
    return replace(images, others={"fold": cells, "site": ["a"] * len(cells)})


def test_a_column_names_the_folds_numbers_in_their_order():
    images = named(["10", "9", "b", "9", "a", "10"])
    assert named_folds(images, "fold") == ["9", "10", "a", "b"]
    kept, out = hold_out_named(images, "fold", "9")
    assert (kept.names, out.names, list(out.others)) == (["0", "2", "4", "5"], ["1", "3"], ["site"])


@pytest.mark.parametrize(
    ("column", "cells", "said"),
    [
        ("site", ["0", "1"], "column 'site' names one fold alone, 'a'"),
        ("fold", ["0", ""], "1 has no fold in column 'fold'"),
        ("part", ["0", "1"], "there is no column 'part' that could name folds; other columns of the data: 'fold', 's"),
    ],
)
def test_a_column_that_names_no_folds_is_refused(column, cells, said):
    with pytest.raises(MaxViTError, match=said):
        named_folds(named(cells), column)


def test_a_list_is_cross_validated_by_its_own_folds(images, tmp_path, capsys):
    files = sorted(images.rglob("*.png"))
    lines = ["path,label,fold", *(f"{path},{path.parent.name},{'xy'[i % 2]}" for i, path in enumerate(files))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    settings = [*SETTINGS, "model.probe=true", "optimization.epochs=0"]
    command = ["train", str(tmp_path / "list.csv"), *(word for s in settings for word in ("--set", s)), "--json"]
    assert main([*command, "--folds", "fold", "--out", str(tmp_path / "cv")]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    with (tmp_path / "cv" / "out_of_fold.csv").open(newline="") as file:
        rows = {row["image"]: row["fold"] for row in csv.DictReader(file)}
    assert [rows[str(path)] for path in files] == ["xy"[i % 2] for i in range(len(files))]


def test_a_single_fold_is_refused(images, capsys):
    assert main(["train", str(images), "--folds", "1"]) == 2
    assert "--folds is 1: it takes at least 2, or the column of a list" in capsys.readouterr().err


def test_data_with_a_validation_part_has_no_folds(small_recipe, tmp_path):
    from small import write_images

    for part in ("train", "val"):
        (tmp_path / "parts").mkdir(exist_ok=True)
        write_images(tmp_path / "parts" / part, 3)
    with pytest.raises(MaxViTError, match="has a validation part of its own"):
        load_data(small_recipe(f"data.path={tmp_path / 'parts'}", "data.folds=2"))


@pytest.fixture(scope="module")
def found(images, tmp_path_factory):
    from maxvit.training.recipe import load_recipe

    recipe = load_recipe("folder", [f"data.path={images}", *SETTINGS, "model.probe=true", "optimization.epochs=0"])
    return train_folds(recipe, tmp_path_factory.mktemp("folds"), 2)


def test_all_images_are_predicted_out_of_their_fold(found):
    with found.predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found.result.images == sum(one.images for one in found.folds) == 24
    assert len({row["image"] for row in rows}) == 24
    assert sorted({row["fold"] for row in rows}) == ["1", "2"]
    assert found.result.metrics["accuracy"] == sum(row["correct"] == "1" for row in rows) / 24


def test_the_networks_predict_together(found, images):
    (prediction,) = Predictor(found.runs)(next(images.glob("red/*.png")))
    assert prediction.summary


def test_the_command_tells_each_fold_and_goes_on(images, tmp_path, capsys):
    settings = [word for setting in [*SETTINGS, "optimization.epochs=1"] for word in ("--set", setting)]
    command = ["train", str(images), *settings, "--folds", "2", "--out", str(tmp_path / "cv")]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert first.splitlines()[0].endswith("each predicted by the network that did not learn from it")
    assert [line.partition(":")[0] for line in first.splitlines()[1:]] == ["fold 1", "fold 2", "predictions", "next"]
    assert main(command) == 0
    assert capsys.readouterr().out == first

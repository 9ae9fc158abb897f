"""Lists with columns of any name, from training to a file of predictions; what is guessed is told."""

import csv
import json
import shutil

import pytest

from maxvit.cli import main
from maxvit.data.shards.read import read_shards
from maxvit.training.recipe import load_recipe
from small import CLASSES


@pytest.fixture(scope="module")
def listed(images, tmp_path_factory):
    """list.csv as a competition has it: names without endings, images in a folder beside it, more columns."""
    folder = tmp_path_factory.mktemp("listed")
    lines = ["id_code;diagnosis;site;fold"]
    (folder / "train_images").mkdir()
    for i, path in enumerate(sorted(images.rglob("*.png"))):
        shutil.copy(path, folder / "train_images" / f"x{i}.png")
        lines.append(f"x{i};{path.parent.name};{'ab'[i % 2]};{i % 5}")
    (folder / "list.csv").write_text("\n".join(lines))
    return folder / "list.csv"


@pytest.fixture(scope="module")
def run_folder(listed, small, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(listed), "--label-column", "diagnosis", *small, "--out", str(out), "--json"]) == 0
    return out


def test_the_columns_are_part_of_the_recipe_and_one_that_is_not_plain_is_asked_for(run, listed, run_folder, tmp_path):
    recipe = load_recipe(str(run_folder / "config.yaml"))
    assert (recipe.data.image_column, recipe.data.label_column) == (None, ("diagnosis",))
    code, _, err = run("train", listed, "--out", tmp_path / "other")
    assert code == 2
    assert (
        "'diagnosis', 'site', 'fold' could be labels: name the columns of the labels, one or several, with --label-"
        in err
    )


def test_evaluation_reads_the_columns_of_training_and_keeps_the_others(run, listed, run_folder, tmp_path):
    code, out, err = run("evaluate", run_folder, listed, "--all", "--json", "--out", tmp_path / "e")
    assert (code, json.loads(out)["images"]) == (0, 24)
    assert err.splitlines()[0] == (
        "data: 24 images of 3 classes; columns 'id_code' (image), 'diagnosis' (class) (guessed; --image-column chooses "
        "others); images found in train_images/; other columns: 'site', 'fold'"
    )
    with (tmp_path / "e" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["target"], row["site"], row["fold"]) for row in rows[:2]] == [
        ("x0", "blue", "a", "0"),
        ("x1", "blue", "b", "1"),
    ]
    code, _, err = run("evaluate", run_folder, listed, "--label-column", "site")
    assert (code, "'a' is not a class of the model" in err) == (2, True)


def test_evaluation_without_data_finds_what_was_held_out(run, run_folder):
    code, _, err = run("evaluate", run_folder)
    assert (code, "evaluated on the 5 of 24 images that training held out" in err) == (0, True)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_predictions_keep_the_columns_of_the_list(run, listed, run_folder, tmp_path, ending):
    code, _, err = run("predict", run_folder, listed, "--image-column", "id_code", "--out", tmp_path / f"p.{ending}")
    assert code == 0
    assert err.splitlines()[0] == "data: 24 images; columns 'id_code' (image); images found in train_images/"
    with (tmp_path / f"p.{ending}").open(newline="") as file:
        row = next(csv.DictReader(file)) if ending == "csv" else json.loads(next(file))
    assert list(row)[:5] == ["path", "diagnosis", "site", "fold", "class_1"]
    assert [row[name] for name in list(row)[:4]] == ["x0", "blue", "a", "0"]


def test_a_list_becomes_shards(run, listed, tmp_path):
    assert run("shard", listed, tmp_path / "out", "--label-column", "diagnosis")[0] == 0
    assert read_shards(tmp_path / "out").train.class_names == sorted(CLASSES)


def test_a_check_reads_the_columns_and_says_them(run, listed):
    code, out, _ = run("check", listed, "--label-column", "site")
    assert code == 0
    assert out.startswith("data: 24 images of 2 classes; columns 'id_code' (image), 'site' (class) (guessed")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["predict", "{run}", "{images}", "--image-column", "a"], "--image-column is for a file of predictions"),
        (["predict", "{run}", "{images}", "--out", "{out}", "--image-column", "a"], "are not given as a list"),
        (["evaluate", "{run}", "{images}", "--label-column", "a"], "is not a list, whose columns could be named"),
        (["train", "{images}", "--image-column", "a"], "is not a list, whose columns could be named"),
        (["train", "digits", "--label-column", "a"], "digits is not a list, whose columns could be named"),
        (["train", "--resume", "{run}", "--label-column", "a"], "--label-column was given too: leave it out"),
        (["check", "{images}", "--task", "aesthetics", "--label-column", "a"], "aesthetics does not read lists whose"),
    ],
)  # fmt: skip
def test_columns_without_a_list_are_refused(run, run_folder, images, tmp_path, words, says):
    places = {"run": run_folder, "images": images, "out": tmp_path / "p.csv"}
    code, _, err = run(*(word.format(**places) for word in words))
    assert code == 2
    assert says in err.splitlines()[-1]


def test_columns_may_have_any_name(run, listed, tmp_path):
    words = ["--label-column", "größe: 猫, [a]", "--label-column", "2024", "--image-column", "null", "--show-recipe"]
    code, out, _ = run("train", listed, *words)
    (tmp_path / "recipe.yaml").write_text(out, encoding="utf-8")
    data = load_recipe(str(tmp_path / "recipe.yaml")).data
    assert (code, data.label_column, data.image_column) == (0, ("größe: 猫, [a]", "2024"), "null")

"""The files of an evaluation give its figures back, and survive any name."""

import csv
import json
import os

import numpy as np
import pytest
from maxvit.inference.evaluation import Evaluation, average
from maxvit.inference.records import as_dict, versions, write_records

from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.storage import check_folder

NAMES = ["ant", "b,ee", 'c"at', "döe", "eel", "fox", "gnu"]
FILES = ["a.png", "with, comma.png", 'with "quotes".png', "line\nbreak.png", "=1+1.png", os.fsdecode(b"caf\xe9.png")]


def answers(seed=0):
    """For five of the six images: the third could not be read."""
    scores = np.random.default_rng(seed).normal(size=(5, 7)) * 3
    probabilities = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
    indices = np.array([0, 1, 3, 4, 5])
    return Evaluation(NAMES, np.array([0, 1, 1, 3, 6]), probabilities, indices, ["c is damaged"])


@pytest.fixture
def images():
    return LabelledImages([b""] * 6, [0, 1, 5, 1, 3, 6], NAMES, FILES)


@pytest.fixture
def results():
    one, two = answers(0), answers(1)
    return {"64 x 96": one, "128 x 96": two, "together": average([one, two])}


def rows(folder):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_rows_give_the_figures_back(tmp_path, images, results):
    write_records(tmp_path, results, images, {})
    found = rows(tmp_path)
    assert len(found) == 15
    for size, result in results.items():
        own = [row for row in found if row["size"] == size]
        correct = [int(row["correct"]) for row in own]
        assert correct == [int(row["answer"] == row["truth"]) for row in own]
        assert np.mean(correct) == result.accuracy
        five = [row["truth"] in [row[f"class_{i}"] for i in range(1, 6)] for row in own]
        assert np.mean(five) == result.top_k_accuracy(5)
        confidences = np.array([row["confidence"] for row in own], np.float32)
        assert np.array_equal(confidences, result.probabilities.max(1))  # every bit
        for row, probabilities in zip(own, result.probabilities, strict=True):
            wanted = sorted(zip(probabilities, NAMES, strict=True), reverse=True)[:5]
            given = [(np.float32(row[f"probability_{i}"]), row[f"class_{i}"]) for i in range(1, 6)]
            assert given == wanted
            assert (row["answer"], np.float32(row["confidence"])) == (wanted[0][1], wanted[0][0])


def test_a_row_names_its_image_and_its_true_class(tmp_path, images, results):
    write_records(tmp_path, {"64 x 96": results["64 x 96"]}, images, {})
    shown = [(row["image"], row["truth"]) for row in rows(tmp_path)]
    assert shown == [(FILES[0], "ant"), (FILES[1], "b,ee"), (FILES[3], "b,ee"), (FILES[4], "döe"), ("caf?.png", "gnu")]


def test_with_fewer_than_five_classes_there_are_fewer_columns(tmp_path):
    found = Evaluation(["ant", "bee"], np.array([1]), np.array([[0.25, 0.75]], np.float32), np.array([0]), [])
    write_records(tmp_path, {"32 x 32": found}, LabelledImages([b""], [1], ["ant", "bee"], ["a"]), {})
    assert (tmp_path / "predictions.csv").read_text() == (
        "image,size,truth,answer,confidence,correct,class_1,probability_1,class_2,probability_2\n"
        "a,32 x 32,bee,bee,0.75,1,bee,0.75,ant,0.25\n"
    )


def test_the_record_holds_figures_settings_versions_and_date(tmp_path, images, results):
    write_records(tmp_path / "deep" / "er", results, images, {"tta": "flip", "sizes": ["64 x 96"]})
    record = json.loads((tmp_path / "deep" / "er" / "evaluation.json").read_text(encoding="utf-8"))
    assert record["settings"] == {"tta": "flip", "sizes": ["64 x 96"]}
    assert record["versions"] == versions()
    assert {"python", "maxvit", "torch", "numpy", "pillow"} <= set(versions())
    assert record["date"].endswith("+00:00")
    assert {key: record[key] for key in as_dict(results)} == json.loads(json.dumps(as_dict(results)))


def test_the_figures_are_of_all_together_and_of_each_size(results):
    found = as_dict(results)
    assert found["accuracy"] == results["together"].accuracy
    assert found["loss"] == results["together"].loss
    assert found["per_class"] == results["together"].per_class()
    assert [row["size"] for row in found["sizes"]] == ["64 x 96", "128 x 96"]
    assert [row["loss"] for row in found["sizes"]] == [answers(0).loss, answers(1).loss]


def test_of_a_single_size_the_figures_are_its_own():
    found = as_dict({"64 x 96": answers()})
    assert found["sizes"] == [{"size": "64 x 96", **answers().figures()}]
    assert found["loss"] == answers().loss


def test_earlier_files_are_replaced_and_no_other_is_touched(tmp_path, images, results):
    (tmp_path / "evaluation.json").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    write_records(tmp_path, results, images, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json", "mine.txt", "predictions.csv"]
    assert json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))["images"] == 5


@pytest.mark.parametrize("below", ["file", "file/run", "file/run/deeper"])
def test_a_folder_that_is_or_lies_below_a_file_is_refused(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(MaxViTError, match=r"file is a file, and a folder to write to is wanted"):
        check_folder(tmp_path / below)


def test_a_link_to_nothing_is_no_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(MaxViTError, match=r"link is a file, and a folder to write to is wanted"):
        check_folder(tmp_path / "link")


def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (tmp_path, os.W_OK))
    with pytest.raises(MaxViTError, match="may not be written to: choose another folder"):
        check_folder(tmp_path / "new")


def test_a_folder_that_is_there_or_can_be_made_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in (tmp_path, tmp_path / "new" / "deeper", tmp_path.relative_to(tmp_path) / "new"):
        check_folder(folder)
    assert list(tmp_path.iterdir()) == []

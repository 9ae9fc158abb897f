"""The files of an evaluation give its metrics back, and survive any name."""

import csv
import json
import os

import numpy as np
import pytest
import torch

from maxvit.data.dataset import LabelledImages
from maxvit.errors import MaxViTError
from maxvit.inference.evaluate import EvaluationResult, Sample, mean
from maxvit.inference.evaluation_files import as_dict, versions, write_evaluation
from maxvit.storage import check_folder
from maxvit.tasks import make_task
from maxvit.tasks.aesthetics import Aesthetics

NAMES = ["ant", "b,ee", 'c"at', "döe", "eel", "fox", "gnu"]
FILES = ["a.png", "with, comma.png", 'with "quotes".png', "line\nbreak.png", "=1+1.png", os.fsdecode(b"caf\xe9.png")]
ALL = ["evaluation.json", "evaluation.csv", "predictions.csv"]
INDICES = [0, 1, 3, 4, 5]  # the third could not be read


def evaluated(task, names, predictions, targets, indices=INDICES):
    """The result of an evaluation with these predictions."""
    metric = task.metric(names)
    metric.add(predictions, targets)
    samples = [Sample(*row) for row in zip(indices, [(64, 96)] * len(indices), predictions, targets, strict=True)]
    return EvaluationResult(task, names, metric, len(indices), ["c is damaged"], samples)


def classified(seed=0):
    """For five of the six images."""
    scores = torch.from_numpy(np.random.default_rng(seed).normal(size=(5, 7)) * 3)
    labels = torch.tensor([0, 1, 1, 3, 6])
    return evaluated(make_task({"name": "classification"}), NAMES, list(scores.softmax(1).float()), list(labels))


@pytest.fixture
def images():
    return LabelledImages([b""] * 6, [0, 1, 5, 1, 3, 6], NAMES, FILES, part="test")


@pytest.fixture
def results():
    one, two = classified(0), classified(1)
    return {"64 x 96": one, "128 x 96": two, "together": mean([one, two])}


def write(folder, results, images, settings=None):
    return write_evaluation(folder, results, images, as_dict(results, images, "PyTorch", "none"), settings or {})


def rows(folder):
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_rows_give_the_metrics_back(tmp_path, images, results):
    write(tmp_path, results, images)
    found = rows(tmp_path)
    assert len(found) == 15
    for size, result in results.items():
        own = [row for row in found if row["size"] == size]
        correct = [int(row["correct"]) for row in own]
        assert correct == [int(row["prediction"] == row["target"]) for row in own]
        assert np.mean(correct) == result.metrics["accuracy"]
        five = [row["target"] in [row[f"class_{i}"] for i in range(1, 6)] for row in own]
        assert np.mean(five) == result.metric.chosen.top_k_accuracy(5)
        given = [sample.prediction.numpy() for sample in result.samples]
        confidences = np.array([row["confidence"] for row in own], np.float32)
        assert np.array_equal(confidences, np.stack(given).max(1))  # every bit
        for row, probabilities in zip(own, given, strict=True):
            wanted = sorted(zip(probabilities, NAMES, strict=True), reverse=True)[:5]
            assert [(np.float32(row[f"probability_{i}"]), row[f"class_{i}"]) for i in range(1, 6)] == wanted
            assert (row["prediction"], np.float32(row["confidence"])) == (wanted[0][1], wanted[0][0])


def test_a_row_names_its_image_and_its_true_class(tmp_path, images, results):
    write(tmp_path, {"64 x 96": results["64 x 96"]}, images)
    shown = [(row["image"], row["target"]) for row in rows(tmp_path)]
    assert shown == [(FILES[0], "ant"), (FILES[1], "b,ee"), (FILES[3], "b,ee"), (FILES[4], "döe"), ("caf?.png", "gnu")]


def test_with_fewer_than_five_classes_there_are_fewer_columns(tmp_path):
    task, names = make_task({"name": "classification"}), ["ant", "bee"]
    found = evaluated(task, names, [torch.tensor([0.25, 0.75])], [torch.tensor([0.2, 0.8])], [0])  # shares of classes
    write(tmp_path, {"32 x 32": found}, LabelledImages([b""], [1], names, ["a"]))
    assert (tmp_path / "predictions.csv").read_text() == (
        "image,size,target,prediction,confidence,correct,class_1,probability_1,class_2,probability_2\n"
        "a,32 x 32,bee,bee,0.75,1,bee,0.75,ant,0.25\n"
    )


def test_rows_of_several_labels_have_the_probability_of_every_class(tmp_path):
    task, names = make_task({"name": "classification", "loss": "sigmoid", "threshold": 0.4}), NAMES[:3]
    probabilities = torch.from_numpy(np.random.default_rng(0).random((5, 3), np.float32))
    labels = probabilities > torch.tensor([0.2, 0.4, 0.6])
    result = evaluated(task, names, list(probabilities), list(labels))
    write(tmp_path, {"32 x 41": result}, LabelledImages([b""] * 6, np.zeros((6, 3), bool), names, FILES))
    found = rows(tmp_path)
    for row, p, true in zip(found, probabilities, labels, strict=True):
        for column, shown in (("target", true), ("prediction", p >= 0.4)):
            assert row[column] == "|".join(name for name, there in zip(names, shown, strict=True) if there)
        assert row["correct"] == str(int(torch.equal(true, p >= 0.4)))
        assert [np.float32(row[f"probability:{name}"]) for name in names] == p.tolist()
    assert {row["correct"] for row in found} == {"0", "1"}


def test_rows_of_a_task_have_the_target_in_the_form_of_the_prediction(tmp_path):
    task, names = make_task({"name": "aesthetics"}), [str(i) for i in range(1, 11)]
    shares = torch.eye(10)
    result = evaluated(task, names, list(shares[:5]), list(shares[5:]))
    write(tmp_path, {"64 x 64": result}, LabelledImages([b""] * 6, [None] * 6, names, FILES))
    first = rows(tmp_path)[0]
    assert list(first) == [
        "image",
        "size",
        *(f"{t}{n}" for t in ("target_", "") for n in ("mean", "deviation", *names)),
    ]
    assert (first["mean"], first["target_mean"], first["1"], first["target_6"]) == ("1.0", "6.0", "1.0", "1.0")


def test_where_a_prediction_is_no_row_there_is_no_file_of_predictions(tmp_path, monkeypatch):
    monkeypatch.setattr(Aesthetics, "row", lambda *_: None)
    task, names = make_task({"name": "aesthetics"}), [str(i) for i in range(1, 11)]
    result = evaluated(task, names, list(torch.eye(10)[:5]), list(torch.eye(10)[5:]))
    images = LabelledImages([b""] * 6, [None] * 6, names, FILES)
    files = [tmp_path / "evaluation.json", tmp_path / "evaluation.csv"]
    assert write(tmp_path, {"64 x 64": result}, images) == files
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_the_record_holds_metrics_settings_versions_and_date(tmp_path, images, results):
    made = write(tmp_path / "deep" / "er", results, images, {"scale_windows": False, "sizes": ["64 x 96"]})
    assert made == [tmp_path / "deep" / "er" / name for name in ALL]
    record = json.loads((tmp_path / "deep" / "er" / "evaluation.json").read_text(encoding="utf-8"))
    assert record["settings"] == {"scale_windows": False, "sizes": ["64 x 96"]}
    assert record["versions"] == versions()
    assert {"python", "maxvit", "torch", "numpy", "pillow"} <= set(versions())
    assert record["date"].endswith("+00:00")
    known = as_dict(results, images, "PyTorch", "none")
    assert {key: record[key] for key in known} == json.loads(json.dumps(known))


def test_the_metrics_are_of_all_together_and_of_each_size(images, results):
    found = as_dict(results, images, "PyTorch", "flip")
    counts = {"task": "classification", "part": "test", "images": 5, "skipped": 1, "engine": "PyTorch", "tta": "flip"}
    assert {key: found[key] for key in counts} == counts
    assert (found["size"], found["metrics"]) == ("together", results["together"].metrics)
    assert found["intervals_95"]["accuracy"] == list(results["together"].intervals["accuracy"])
    assert [row["f1"] for row in found["classes"]] == [row["f1"] for row in results["together"].rows]
    assert [row["size"] for row in found["sizes"]] == ["64 x 96", "128 x 96"]
    assert [row["metrics"] for row in found["sizes"]] == [classified(0).metrics, classified(1).metrics]


def test_every_metric_has_a_row_with_its_interval_at_each_size(tmp_path, images, results):
    write(tmp_path, results, images)
    with (tmp_path / "evaluation.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["size"], row["metric"]) for row in found] == [(s, m) for s, r in results.items() for m in r.metrics]
    (row,) = (row for row in found if (row["size"], row["metric"]) == ("together", "f1_macro"))
    together = results["together"]
    wanted = [together.metrics["f1_macro"], *together.intervals["f1_macro"]]
    assert [float(row[name]) for name in ("value", "low", "high")] == wanted
    assert {(row["low"], row["high"]) for row in found if row["metric"] == "loss"} == {("", "")}


def test_without_a_mean_the_metrics_are_of_the_first_size(images):
    found = as_dict({"64 x 96": classified(0), "128 x 96": classified(1)}, images, "PyTorch", "none")
    assert (found["size"], found["metrics"]) == ("64 x 96", classified(0).metrics)
    assert found["sizes"][0] == {key: found[key] for key in ("size", "metrics", "intervals_95")}


def test_what_is_not_a_number_is_null(images):
    task = make_task({"name": "classification", "loss": "sigmoid", "threshold": 0.5})
    result = evaluated(task, NAMES, list(torch.rand(5, 7)), list(torch.zeros(5, 7, dtype=torch.bool)))
    assert np.isnan(result.metrics["mAP"])
    found = json.loads(json.dumps(as_dict({"32 x 41": result}, images, "PyTorch", "none"), allow_nan=False))
    assert (found["metrics"]["mAP"], found["intervals_95"]["mAP"], found["classes"][0]["ap"]) == (
        None,
        [None] * 2,
        None,
    )
    assert found["metrics"]["threshold"] == 0.5


def test_earlier_files_are_replaced_and_no_other_is_touched(tmp_path, images, results):
    (tmp_path / "evaluation.json").write_text("old")
    (tmp_path / "mine.txt").write_text("mine")
    write(tmp_path, results, images)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["mine.txt", *ALL])
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

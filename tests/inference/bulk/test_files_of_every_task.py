"""Predictions of every task in a file: rows, objects, or the format of the field; also where it was stopped."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import maxvit
from every_task import COUNTING, TASKS, network_of
from maxvit.data.images import decode
from maxvit.errors import MaxViTError
from maxvit.inference.bulk import tables
from maxvit.inference.bulk.predict import predict_to_file
from maxvit.tasks import segmentation

pytest.importorskip("segmentation_models_pytorch")
pytest.importorskip("pycocotools")

WITH_ROWS = ("classification", "aesthetics", COUNTING)
MASKS = {"detector": "mask-rcnn", "proposals": (32, 8), "score_threshold": 0.0, "detections": 5}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoints")
    made = {name: network_of(name) for name in TASKS} | {"with masks": network_of("detection", MASKS)}
    for name, network in made.items():
        network.save(folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in made}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five images of several sizes, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("images")
    for i, size in enumerate([(64, 64), (70, 50), (64, 64), (50, 70), (64, 64)]):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)).save(folder / f"{i}.png")
    (folder / "broken.png").write_text("no image")
    return folder


def predicted(checkpoint, images):
    """One by one, with their names and sizes."""
    found = maxvit.Predictor(checkpoint, batch_size=1)(sorted(images.iterdir()))
    return [prediction for prediction in found if prediction.error is None]


def about(wanted):
    """The same values, and numbers nearly, as a batch is computed in another order than an image."""
    if isinstance(wanted, dict):
        return {name: about(value) for name, value in wanted.items()}
    if isinstance(wanted, list):
        return [about(value) for value in wanted]
    return pytest.approx(wanted, rel=1e-3, abs=1e-3) if isinstance(wanted, float) else wanted


def masks(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_an_object_for_each_image(checkpoints, images, tmp_path, name):
    written = predict_to_file(checkpoints[name], images, tmp_path / "a.jsonl", batch_size=1, embeddings=True)
    found = [json.loads(line) for line in written.out.read_text().splitlines()]
    for row, prediction in zip(found, predicted(checkpoints[name], images), strict=True):
        values = prediction.task.row(prediction.value, prediction.class_names) or prediction.to_json()
        assert row.pop("path") == prediction.name
        assert len(set(row.pop("embedding"))) > 10
        assert row == about(values)
    assert (written.images, written.failed) == (6, 1)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_rows_have_a_column_of_its_own_type_for_each_value(checkpoints, images, tmp_path, name):
    predict_to_file(checkpoints[name], images, tmp_path / "a.parquet")
    found = pq.read_table(tmp_path / "a.parquet")
    wanted = [p.task.row(p.value, p.class_names) for p in predicted(checkpoints[name], images)]
    assert found.column_names == ["path", *wanted[0]]
    kinds = {str: "string", int: "int64", float: "float"}
    assert [str(t) for t in found.schema.types] == ["string", *(kinds[type(v)] for v in wanted[0].values())]
    assert found.drop_columns("path").to_pylist() == about(wanted)
    with pytest.raises(MaxViTError, match=r"unknown ending of the file '\.txt': known are"):
        predict_to_file(checkpoints[name], images, tmp_path / "a.txt")


def test_masks_are_a_folder_as_the_task_writes_it(checkpoints, images, tmp_path):
    written = predict_to_file(checkpoints["segmentation"], images, tmp_path / "masks", part_size=2, batch_size=1)
    found = predicted(checkpoints["segmentation"], images)
    assert len({int(value) for p in found for value in p.value.unique()}) > 1
    task = found[0].task
    task.write(((p.name, p.size, p.value) for p in found), tmp_path / "wanted", found[0].class_names)
    assert masks(written.out) == masks(tmp_path / "wanted")
    assert len(masks(written.out)) == 6  # and the classes
    with written.errors.open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(images / "broken.png")]
    names = ["masks", "masks.errors.csv", "masks.plan.json", "wanted"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_objects_are_a_file_as_the_task_writes_it(checkpoints, images, tmp_path):
    written = predict_to_file(checkpoints["with masks"], images, tmp_path / "found.json", part_size=2, batch_size=1)
    found = predicted(checkpoints["with masks"], images)
    task = found[0].task
    task.write(((p.name, p.size, p.value) for p in found), tmp_path / "wanted.json", found[0].class_names)
    wanted = json.loads((tmp_path / "wanted.json").read_text())
    assert len(wanted) > 5
    assert "segmentation" in wanted[0]
    assert json.loads(written.out.read_text()) == about(wanted)


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["image", "join", "write"])
def test_masks_go_on_where_they_were_stopped(checkpoints, images, tmp_path, monkeypatch, moment):
    whole = predict_to_file(checkpoints["segmentation"], images, tmp_path / "whole", part_size=2)
    out, done = tmp_path / "masks", []
    with monkeypatch.context() as patched:
        place = {
            "image": (segmentation.Segmentation, "predict"),
            "join": (tables, "join"),
            "write": (Image.Image, "save"),
        }
        owner, name = place[moment]
        original = getattr(owner, name)
        last = {"image": 4, "join": 1, "write": 3}[moment]  # the first prediction is of a blank image

        def count(*arguments, **named):
            done.append(name)
            return interrupt() if len(done) == last else original(*arguments, **named)

        patched.setattr(owner, name, count)
        with pytest.raises(KeyboardInterrupt):
            predict_to_file(checkpoints["segmentation"], images, out, part_size=2)
    there = len(list(tmp_path.glob("masks.parts/part-*")))
    assert (there, out.exists()) == (2 if moment == "image" else 3, False)
    predict, computed = segmentation.Segmentation.predict, []
    monkeypatch.setattr(segmentation.Segmentation, "predict", lambda *given: computed.append(1) or predict(*given))
    predict_to_file(checkpoints["segmentation"], images, out, part_size=2)
    assert len(computed) == 1 + (moment == "image")  # one of them is blank
    assert masks(out) == masks(whole.out)
    with pytest.raises(MaxViTError, match=r"begun with task.inference whole, and now it is slide"):
        predict_to_file(checkpoints["segmentation"], images, out, part_size=2, settings={"inference": "slide"})


def test_a_folder_is_taken_if_it_is_empty(checkpoints, images, tmp_path):
    (tmp_path / "masks").mkdir()
    predict_to_file(checkpoints["segmentation"], images, tmp_path / "masks")
    assert len(masks(tmp_path / "masks")) == 6
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(MaxViTError, match="full exists already: choose another name, or remove it"):
        predict_to_file(checkpoints["segmentation"], images, tmp_path / "full")


@pytest.mark.parametrize(
    ("name", "out", "settings", "sentence"),
    [
        ("segmentation", "a.csv", {}, r"a\.csv is a file, and masks are written to a folder"),
        ("detection", "a.csv", {}, r"a\.csv is not a \.json file"),
        ("segmentation", "masks", {"embeddings": True}, r"masks has no room for embeddings: write \.jsonl"),
        ("aesthetics", "a.csv", {"settings": {"top_k": 3}}, r"unknown setting 'task\.top_k'"),
    ],
)
def test_what_a_task_cannot_write_is_refused_before_anything_is_written(
    checkpoints, images, tmp_path, name, out, settings, sentence
):
    with pytest.raises(MaxViTError, match=sentence):
        predict_to_file(checkpoints[name], images, tmp_path / out, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("to_json", "out", "sentence"),
    [
        ({"label": "x"}, "a.csv", "a row of counting has a column label, which is ours: give it another name"),
        ({"counts": [1]}, "a.csv", r"a prediction of counting does not fit into a row of a table: write \.jsonl"),
    ],
)
def test_rows_of_a_task_that_cannot_be_are_refused(checkpoints, images, tmp_path, monkeypatch, to_json, out, sentence):
    from examples.counting_task import Counting

    monkeypatch.setattr(Counting, "to_json", lambda *_: to_json)
    with pytest.raises(MaxViTError, match=sentence):
        predict_to_file(checkpoints[COUNTING], images, tmp_path / out)
    assert list(tmp_path.iterdir()) == []


def test_predictions_are_kept_without_their_batch_and_only_as_plain_values(checkpoints):
    task = maxvit.Predictor(checkpoints["segmentation"]).task
    batch = torch.zeros(1000, 3)
    packed = tables.pack({"a": batch[0], "b": [1, "x", b"\xff", (2.5,)]}, task)
    assert len(packed) < 3000
    found = tables.unpack(packed)
    assert torch.equal(found.pop("a"), batch[0])
    assert found == {"b": [1, "x", b"\xff", (2.5,)]}
    with pytest.raises(MaxViTError, match="a prediction of segmentation cannot be kept in a file: make it of tensors"):
        tables.pack(task, task)


@pytest.mark.parametrize("name", ["classification", "segmentation"])
def test_pictures_of_all_images_are_drawn_also_by_several_calls(checkpoints, images, tmp_path, monkeypatch, name):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for i in (0, 1):
            (tmp_path / folder / f"{i}.png").write_bytes((images / f"{i}.png").read_bytes())
    given = [tmp_path / "x", tmp_path / "y"]
    with monkeypatch.context() as patched:
        patched.setattr(tables, "join", interrupt)
        with pytest.raises(KeyboardInterrupt):
            predict_to_file(checkpoints[name], given, tmp_path / "a.jsonl", part_size=3, pictures=tmp_path / "drawn")
    next(tmp_path.glob("a.jsonl.parts/part-000001*")).unlink()
    (tmp_path / "drawn" / "1-2.png").unlink()
    predict_to_file(checkpoints[name], given, tmp_path / "a.jsonl", part_size=3, pictures=tmp_path / "drawn")
    drawn = {path.name: decode(path) for path in (tmp_path / "drawn").iterdir()}
    assert drawn.keys() == {"0.png", "1.png", "0-2.png", "1-2.png"}
    assert drawn["1-2.png"].size == (50, 70)
    assert drawn["1-2.png"].tobytes() == drawn["1.png"].tobytes() != decode(images / "1.png").tobytes()
    with pytest.raises(MaxViTError, match="begun with pictures True, and now it is False"):
        predict_to_file(checkpoints[name], given, tmp_path / "a.jsonl", part_size=3)

"""Predictions in a file: complete, right, and the same however often their making was interrupted."""

import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import maxvit
from maxvit.errors import MaxViTError
from maxvit.inference.bulk.predict import predict_to_file
from maxvit.inference.engines import FileEngine, TorchEngine
from maxvit.tasks import classification
from shard_samples import picture, sample, write_tar

DYING = Path(__file__).with_name("dying_prediction.py")
NAMES = [f"kind {i}" for i in range(7)]


def write_pictures(folder, number, broken=5):
    """Different images of 32 x 32 pixels, of which some are cut off; gives the good and the broken ones."""
    folder.mkdir()
    random = np.random.default_rng(0)
    colours = random.integers(0, 256, (number, 2, 2, 3), np.uint8)
    paths = [folder / f"{i:06d}.png" for i in range(number)]
    for path, colour in zip(paths, colours, strict=True):
        Image.fromarray(colour.repeat(16, 0).repeat(16, 1)).save(path, compress_level=1)
    bad = [paths[i] for i in np.linspace(number // 50, number - 2, broken).astype(int)]
    for path in bad:
        path.write_bytes(path.read_bytes()[:60])
    return [path for path in paths if path not in bad], bad


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    model = maxvit.create_model("maxvit_micro", num_classes=7, image_size=32)
    model.class_names = NAMES
    with torch.no_grad():  # random weights answer nearly the same for every image
        model.head.classifier.weight.mul_(20)
    path = tmp_path_factory.mktemp("checkpoint") / "micro.safetensors"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures") / "all", 300)


@pytest.fixture(scope="module")
def folder(pictures):
    return pictures[0][0].parent


@pytest.fixture(scope="module")
def unbroken(checkpoint, folder, tmp_path_factory):
    """What a call gives that nobody interrupted."""
    return predict_to_file(checkpoint, folder, tmp_path_factory.mktemp("unbroken") / "a.parquet", part_size=47)


def rows(path):
    return pq.read_table(path).to_pylist()


def failures(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def parts_of(out):
    return list(out.parent.glob(f"{out.name}.parts/part-*.parquet"))


def assert_complete(written, good, bad):
    """Every good image once, every broken one in the list, and nothing left of the parts."""
    assert [row["path"] for row in rows(written.out)] == [str(path) for path in good]
    assert [row["path"] for row in failures(written.errors)] == [str(path) for path in bad]
    assert (written.images, written.failed) == (len(good) + len(bad), len(bad))
    names = [f"{written.out.stem}.errors.csv", written.out.name, f"{written.out.name}.plan.json"]
    assert sorted(path.name for path in written.out.parent.iterdir()) == names


def test_every_good_image_comes_once_with_the_prediction_of_the_predictor(checkpoint, pictures, unbroken):
    good, bad = pictures
    assert_complete(unbroken, good, bad)
    predictions = maxvit.Predictor(checkpoint, settings={"top_k": 5})([*good[:40], *good[-40:]])
    found = rows(unbroken.out)
    for prediction, row in zip(predictions, found[:40] + found[-40:], strict=True):
        best = prediction.to_json()["classes"]
        assert [row[f"class_{k}"] for k in range(1, 6)] == [one["class"] for one in best]
        given = torch.tensor([row[f"probability_{k}"] for k in range(1, 6)])
        torch.testing.assert_close(given, torch.tensor([one["probability"] for one in best]))
    assert len({row["class_1"] for row in found}) > 1
    assert all("damaged" in row["reason"] and row["path"] in row["reason"] for row in failures(unbroken.errors))


def test_a_multi_label_network_has_a_column_of_all_that_it_answers(checkpoint, pictures, tmp_path):
    model = maxvit.load_model(checkpoint)
    with torch.no_grad():
        model.head.classifier.bias -= model(torch.zeros(1, 3, 32, 32))[0].median()
    model.config = dataclasses.replace(model.config, multi_label=True, threshold=0.5)
    model.save(tmp_path / "several.safetensors")
    written = predict_to_file(
        tmp_path / "several.safetensors", pictures[0][:9], tmp_path / "a.csv", settings={"top_k": 2}
    )
    with written.out.open(newline="") as file:
        found = list(csv.DictReader(file))
    best = [p.to_json()["classes"] for p in maxvit.Predictor(model, settings={"top_k": 2})(pictures[0][:9])]
    assert [row["predicted"] for row in found] == ["|".join(c["class"] for c in one if c["predicted"]) for one in best]
    assert len({row["predicted"] for row in found}) > 1
    assert [row["class_2"] for row in found] == [one[1]["class"] for one in best]


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("image", 160),
        ("rename", 12),  # of the whole file, after that of seven parts, the plan and the errors
        pytest.param("write", 3, marks=pytest.mark.full),
        pytest.param("tidy", 1, marks=pytest.mark.full),
    ],
)
def test_a_killed_call_goes_on_with_what_is_missing(
    checkpoint, folder, pictures, unbroken, tmp_path, monkeypatch, moment, number
):
    out = tmp_path / "a.parquet"
    words = ["predict", checkpoint, folder, "--out", out, "--part-size", 47, "--top-k", 5]
    killed = subprocess.run(
        [sys.executable, DYING, moment, *map(str, (number, *words))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert out.exists() == (moment == "tidy")
    done = len(parts_of(out))
    assert moment == "tidy" or done > 0
    read, preprocess = [], classification.preprocess
    monkeypatch.setattr(classification, "preprocess", lambda spec, image: read.append(image) or preprocess(spec, image))
    written = predict_to_file(checkpoint, folder, out, part_size=47)
    assert len(read) == (0 if moment == "tidy" else max(0, 300 - 47 * done))
    assert_complete(written, *pictures)
    assert rows(out) == rows(unbroken.out)


def test_batches_that_several_processes_decode_give_the_same(checkpoint, folder, unbroken, tmp_path):
    written = predict_to_file(checkpoint, folder, tmp_path / "a.parquet", part_size=47, workers=2)
    assert rows(written.out) == rows(unbroken.out)
    assert failures(written.errors) == failures(unbroken.errors)


def test_embeddings_are_what_the_classifier_sees(checkpoint, folder, pictures, unbroken, tmp_path):
    written = predict_to_file(checkpoint, folder, tmp_path / "a.parquet", settings={"top_k": 2}, embeddings=True)
    found = pq.read_table(written.out)
    model = maxvit.load_model(checkpoint).eval()
    images = torch.cat([maxvit.preprocess(model, path) for path in pictures[0][:20]])
    with torch.inference_mode():
        wanted = model.forward_head(model.forward_features(images), pre_logits=True)
    given = torch.tensor(found["embedding"].combine_chunks().flatten().to_numpy()).view(len(found), -1)
    torch.testing.assert_close(given[:20], wanted, atol=1e-4, rtol=1e-4)  # optimised by other kernels
    assert str(found.schema.field("embedding").type).startswith("fixed_size_list<element: float")
    assert found["class_1"].to_pylist() == [row["class_1"] for row in rows(unbroken.out)]
    assert "class_2" in found.column_names
    assert "class_3" not in found.column_names


def test_csv_and_json_lines_hold_the_same_numbers(checkpoint, folder, unbroken, tmp_path):
    wanted = rows(unbroken.out)
    predict_to_file(checkpoint, folder, tmp_path / "a.csv", part_size=47)
    with (tmp_path / "a.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == list(wanted[0])
    as_float32 = [{k: v if isinstance(v, str) else np.float32(v) for k, v in row.items()} for row in wanted]
    assert [
        {k: np.float32(v) if k[0] == "p" and k != "path" else v for k, v in row.items()} for row in found
    ] == as_float32
    predict_to_file(checkpoint, folder, tmp_path / "b.jsonl", part_size=47)
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    assert [
        {k: v if isinstance(v, str) else np.float32(v) for k, v in json.loads(x).items()} for x in lines
    ] == as_float32


def test_embeddings_in_json_lines_are_lists(checkpoint, folder, tmp_path):
    predict_to_file(checkpoint, folder, tmp_path / "a.jsonl", embeddings=True)
    predict_to_file(checkpoint, folder, tmp_path / "b.parquet", embeddings=True)
    first = json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["embedding"]
    assert np.array_equal(np.float32(first), np.float32(rows(tmp_path / "b.parquet")[0]["embedding"]))


def test_images_of_shards_bring_their_labels_and_a_broken_one_its_name(checkpoint, tmp_path):
    shards = tmp_path / "shards"
    write_tar(shards / "train-0.tar", *sample("a", 1, 1), ("b.jpg", picture(2)[:300]), ("b.cls", b"0"))
    write_tar(shards / "test-0.tar", *sample("a", 0, 3))  # no val, and a name that train has too
    written = predict_to_file(checkpoint, shards, tmp_path / "out" / "a.parquet", part_size=2)
    assert [(row["path"], row["label"]) for row in rows(written.out)] == [("train/a.jpg", "1"), ("test/a.jpg", "0")]
    assert [row["path"] for row in failures(written.errors)] == ["train/b.jpg"]
    (tmp_path / "a.jpg").write_bytes(picture(3))
    wanted = float(maxvit.Predictor(checkpoint)(tmp_path / "a.jpg")[0].value.max())
    assert rows(written.out)[1]["probability_1"] == pytest.approx(wanted, rel=1e-5)


def test_images_of_different_sizes_keep_their_order(checkpoint, tmp_path):
    model = maxvit.load_model(checkpoint)
    model.preprocessing = dataclasses.replace(model.preprocessing, fit="aspect", image_size=(64, 64))
    model.save(tmp_path / "aspect.safetensors")
    paths = []
    for i, size in enumerate([(64, 64), (150, 50), (64, 64), (50, 150), (150, 50)]):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8)).save(paths[-1])
    predict_to_file(tmp_path / "aspect.safetensors", paths, tmp_path / "a.parquet", part_size=4)
    found = rows(tmp_path / "a.parquet")
    assert [row["path"] for row in found] == list(map(str, paths))
    for row, one in zip(found, maxvit.Predictor(tmp_path / "aspect.safetensors", batch_size=1)(paths), strict=True):
        assert row["probability_1"] == pytest.approx(float(one.value.max()), rel=1e-4)


def test_a_name_that_is_no_utf8_is_written_with_its_bytes(checkpoint, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    path.write_bytes(picture(0, "PNG"))
    predict_to_file(checkpoint, path, tmp_path / "a.parquet")
    assert [row["path"] for row in rows(tmp_path / "a.parquet")] == [f"{tmp_path}/caf\\xe9.png"]


def test_where_no_image_can_be_read_there_are_columns_and_no_rows(checkpoint, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    written = predict_to_file(checkpoint, [tmp_path / "a.png", tmp_path / "none.png"], tmp_path / "a.parquet")
    assert pq.read_table(written.out).num_rows == 0
    assert pq.read_table(written.out).column_names[:3] == ["path", "class_1", "probability_1"]
    assert [row["path"] for row in failures(written.errors)] == [str(tmp_path / name) for name in ("a.png", "none.png")]


def test_a_file_that_is_there_already_is_left_as_it_is(checkpoint, folder, unbroken):
    before = unbroken.out.stat().st_mtime_ns
    again = predict_to_file(checkpoint, folder, unbroken.out, part_size=47)
    assert again == dataclasses.replace(unbroken, was_there=True)
    assert unbroken.out.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"settings": {"top_k": 2}}, "task.top_k 5, and now it is 2"),
        ({"embeddings": True}, "embeddings False, and now it is True"),
        ({"part_size": 48}, "part size 47, and now it is 48"),
    ],
)
def test_a_call_with_other_settings_does_not_go_on(checkpoint, folder, unbroken, change, what):
    with pytest.raises(MaxViTError, match=f"was begun with {what}: choose another name, or remove .*plan.json and"):
        predict_to_file(checkpoint, folder, unbroken.out, **{"part_size": 47, **change})


def test_a_call_with_another_checkpoint_or_other_images_does_not_go_on(
    checkpoint, folder, pictures, unbroken, tmp_path
):
    other = tmp_path / "other.safetensors"
    maxvit.create_model("maxvit_micro", num_classes=7, image_size=32).save(other)
    with pytest.raises(MaxViTError, match="begun with checkpoint"):
        predict_to_file(other, folder, unbroken.out, part_size=47)
    with pytest.raises(MaxViTError, match="begun with number of images 300, and now it is 2"):
        predict_to_file(checkpoint, pictures[0][:2], unbroken.out, part_size=47)
    with pytest.raises(MaxViTError, match="begun with images"):
        predict_to_file(checkpoint, sorted([*pictures[0], *pictures[1]])[::-1], unbroken.out, part_size=47)


def test_a_file_of_something_else_is_not_overwritten(checkpoint, folder, tmp_path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(MaxViTError, match=r"a\.csv exists already: choose another name, or remove it"):
        predict_to_file(checkpoint, folder, tmp_path / "a.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("out", "settings", "sentence"),
    [
        ("a.txt", {}, r"unknown ending of the file '\.txt': known are \.parquet, \.csv, \.jsonl"),
        ("a.csv", {"embeddings": True}, r"a CSV file has no room for embeddings: write \.parquet or \.jsonl"),
        ("a.csv", {"workers": -1}, "workers is -1 and part_size None"),
        ("a.csv", {"part_size": 0}, "workers is 0 and part_size 0"),
        ("a.csv", {"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    checkpoint, folder, tmp_path, out, settings, sentence
):
    with pytest.raises(MaxViTError, match=sentence):
        predict_to_file(checkpoint, folder, tmp_path / out, **settings)
    assert list(tmp_path.iterdir()) == []


def test_an_engine_without_embeddings_is_refused(checkpoint, folder, tmp_path, monkeypatch):
    engine = object.__new__(FileEngine)
    engine.path = tmp_path / "a.onnx"
    monkeypatch.setattr(TorchEngine, "with_embeddings", lambda self, images: engine.with_embeddings(images))
    with pytest.raises(MaxViTError, match=r"a\.onnx gives no embeddings: use the checkpoint"):
        predict_to_file(checkpoint, folder, tmp_path / "a.parquet", embeddings=True)
    assert list(tmp_path.iterdir()) == []


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_part_that_the_disk_has_damaged_is_named(checkpoint, folder, tmp_path, monkeypatch):
    out = tmp_path / "a.parquet"
    join = "maxvit.inference.bulk.tables.join"
    with monkeypatch.context() as patched:
        patched.setattr(join, interrupt)
        with pytest.raises(KeyboardInterrupt):
            predict_to_file(checkpoint, folder, out, part_size=100)
    part = sorted((tmp_path / "a.parquet.parts").glob("part-*"))[1]
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(
        MaxViTError, match=r"part-000001\.parquet is damaged \(.*\): remove it, and call the same again"
    ):
        predict_to_file(checkpoint, folder, out, part_size=100)
    assert not out.exists()
    part.unlink()
    assert predict_to_file(checkpoint, folder, out, part_size=100).images == 300


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_twenty_thousand_images_killed_again_and_again_come_once_each(checkpoint, tmp_path):
    good, bad = write_pictures(tmp_path / "all", 20_000)
    (tmp_path / "unbroken").mkdir()
    (tmp_path / "killed").mkdir()
    whole = predict_to_file(checkpoint, good[0].parent, tmp_path / "unbroken" / "a.parquet", part_size=1024)
    assert_complete(whole, good, bad)
    out = tmp_path / "killed" / "a.parquet"
    words = ["predict", checkpoint, good[0].parent, "--out", out, "--part-size", 1024, "--top-k", 5, "--workers", 1]
    for wanted in (3, 8, 15):  # parts of 20
        running = subprocess.Popen(
            [sys.executable, "-m", "maxvit", *map(str, words)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.DEVNULL,
        )
        while len(parts_of(out)) < wanted:
            assert running.poll() is None
            time.sleep(0.01)
        running.kill()
        assert running.wait() == -signal.SIGKILL
        assert wanted <= len(parts_of(out)) < 20
        assert not out.exists()
    written = predict_to_file(checkpoint, good[0].parent, out, part_size=1024)
    assert_complete(written, good, bad)
    assert rows(out) == rows(whole.out)

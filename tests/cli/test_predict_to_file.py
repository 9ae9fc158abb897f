"""maxvit predict --out."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

import maxvit
from maxvit.cli import main


@pytest.fixture
def photos(images, tmp_path):
    """The small data set with one broken image."""
    shutil.copytree(images, tmp_path / "photos")
    (tmp_path / "photos" / "red" / "3.png").write_text("no image")
    return tmp_path / "photos"


def test_predict_writes_a_file_and_lists_what_cannot_be_read(run, trained, photos, tmp_path):
    out = tmp_path / "a.csv"
    code, said, err = run("predict", trained.checkpoint, photos, "--out", out, "--top-k", 2, "--batch-size", 5)
    assert (code, said) == (0, f"wrote {out}: 23 images\n")
    assert err.splitlines()[0] == "data: 24 images"
    assert err.splitlines()[2:] == [f"1 of 24 images could not be read: see {tmp_path / 'a.errors.csv'}"]
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "class_1", "probability_1", "class_2", "probability_2"]
    assert rows[0]["path"] == str(photos / "blue" / "0.png")
    wanted = float(maxvit.Predictor(trained.checkpoint)(rows[0]["path"])[0].value.max())
    assert float(rows[0]["probability_1"]) == pytest.approx(wanted, rel=1e-5)


def test_predict_writes_sets_of_classes_with_a_coverage(run, trained, photos, tmp_path):
    out, words = tmp_path / "a.csv", ("predict", trained.checkpoint, photos)
    assert run(*words, "--out", out, "--coverage", 0.75)[0] == 0
    with out.open(newline="") as file:
        rows = {row["path"]: row["set"] for row in csv.DictReader(file)}
    said = [json.loads(line) for line in run(*words, "--coverage", 0.75, "--json")[1].splitlines()]
    assert rows == {one["image"]: "|".join(one["set"]) for one in said}
    assert all(": 75% set: " in line for line in run(*words, "--coverage", 0.75)[1].splitlines())
    code, _, err = run(*words, "--coverage", 0.95)
    assert (code, "this takes 19 validation images, and the network was validated on fewer" in err) == (2, True)


def test_predict_says_what_it_wrote_in_json_also_when_it_is_there_already(run, trained, photos, tmp_path):
    words = ["predict", trained.checkpoint, photos, "--out", tmp_path / "a.parquet", "--json", "--embeddings"]
    wanted = {"out": f"{tmp_path}/a.parquet", "errors": f"{tmp_path}/a.errors.csv", "images": 24, "failed": 1}
    told = []
    for _ in range(2):
        code, said, err = run(*words, "--workers", 1)
        assert (code, json.loads(said)) == (0, wanted)
        told.append(f"{tmp_path}/a.parquet was there already, and nothing was computed" in err)
    assert told == [False, True]
    assert pq.read_table(tmp_path / "a.parquet").column_names[-1] == "embedding"


def test_a_list_of_somebody_else_is_not_written_over_and_one_that_is_gone_is_no_mistake(run, trained, images, tmp_path):
    out, errors = tmp_path / "a.csv", tmp_path / "a.errors.csv"
    errors.write_text("mine")
    code, _, err = run("predict", trained.checkpoint, images, "--out", out)
    assert (code, errors.read_text(), out.exists()) == (2, "mine", False)
    assert err.startswith(f"error: {errors}, where the errors would go, exists already")
    errors.unlink()
    assert run("predict", trained.checkpoint, images, "--out", out)[0] == 0
    errors.unlink()
    assert run("predict", trained.checkpoint, images, "--out", out)[1] == f"{out}: 24 images\n"


def test_without_the_file_and_its_plan_it_begins_again(run, trained, photos, tmp_path):
    out, words = tmp_path / "a.csv", ["predict", trained.checkpoint, photos, "--out", tmp_path / "a.csv"]
    assert run(*words)[0] == 0
    for path in (out, tmp_path / "a.csv.plan.json"):
        path.unlink()
    assert run(*words)[1] == f"wrote {out}: 23 images\n"


def test_a_name_that_is_no_text_is_printed_with_escapes(trained, images, tmp_path, monkeypatch):
    file = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copy(next(images.rglob("*.png")), file)
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", out)
    code = main(["predict", str(trained.checkpoint), os.fsdecode(file)])
    out.flush()
    assert (code, b"caf\\udce9.png" in out.buffer.getvalue()) == (0, True)


@pytest.mark.parametrize("option", [["--embeddings"], ["--workers", 0], ["--devices", 1], ["--part-size", 3]])
def test_options_of_a_file_are_refused_without_one(run, trained, images, option):
    code, said, err = run("predict", trained.checkpoint, images, *option)
    assert (code, said) == (2, "")
    assert err == f"error: {option[0]} is for a file of predictions: add --out FILE, or leave {option[0]} out\n"


def test_a_mistake_costs_a_sentence_and_no_file(run, trained, images, tmp_path):
    code, said, err = run("predict", trained.checkpoint, images, "--out", tmp_path / "a.txt")
    assert (code, said, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: unknown ending of the file '.txt'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.full
def test_two_devices_share_the_parts_and_write_the_same_file(run, trained, photos, tmp_path):
    words = ["predict", str(trained.checkpoint), str(photos), "--part-size", "2", "--embeddings", "--set", "top_k=2"]
    assert run(*words, "--out", tmp_path / "one.parquet")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "maxvit", *words, "--out", str(tmp_path / "two.parquet"), "--devices", "2"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, f"wrote {tmp_path / 'two.parquet'}: 23 images\n"), done.stderr
    assert pq.read_table(tmp_path / "two.parquet").equals(pq.read_table(tmp_path / "one.parquet"))
    assert (tmp_path / "two.errors.csv").read_text() == (tmp_path / "one.errors.csv").read_text()


@pytest.mark.full
def test_a_mistake_is_one_of_all_devices(run, trained, photos, tmp_path):
    assert run("predict", trained.checkpoint, photos, "--out", tmp_path / "a.txt", "--devices", 2)[0] == 2

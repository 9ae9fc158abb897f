"""Labels that look wrong to the first look: kept with the run, told in its report."""

import json
import shutil

import pytest

from maxvit.errors import MaxViTError
from maxvit.report.run import report_run
from maxvit.training.recipe import load_recipe
from maxvit.training.run import resume, train
from maxvit.training.suspicious_labels import FILE, read_suspicious
from small import SETTINGS, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A red image among the blue ones, which come after one that cannot be read."""
    folder = tmp_path_factory.mktemp("mislabelled")
    for part in ("train", "val"):
        write_images(folder / part, 20)
    (folder / "train" / "red" / "7.png").rename(folder / "train" / "blue" / "red 7.png")
    (folder / "train" / "blue" / "0.png").write_bytes(b"not an image")
    return folder


def recipe(data, *settings):
    return load_recipe(
        "folder", [f"data.path={data}", *SETTINGS, "model.probe=true", "optimization.epochs=0", *settings]
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    return train(recipe(data), tmp_path_factory.mktemp("run")).run


def test_a_wrong_label_is_kept_with_the_class_that_the_image_looks_like(run):
    (found,) = read_suspicious(run)
    assert (found["image"], found["class"], found["likely"]) == ("blue/red 7.png", "blue", "red")
    assert found["likely_probability"] > 30 * found["probability"]


def test_the_report_tells_and_shows_it(run, data):
    page, report = report_run(run)
    how = f"maxvit check {data} --out FOLDER"
    assert report.suspicious.verdict == f"1 training label looks wrong: the report shows it; to correct it: {how}"
    text = page.read_text(encoding="utf-8")
    assert 'alt="blue/red 7.png: label blue, looks like red"' in text
    assert "1 training image looks like another class to a regression on the others;" in text


def test_an_image_that_is_gone_has_no_picture(run, data, tmp_path):
    kept = shutil.copytree(data, tmp_path / "data")
    (kept / "train" / "blue" / "red 7.png").unlink()
    moved = shutil.copytree(run, tmp_path / "run")
    config = moved / "config.yaml"
    config.write_text(config.read_text().replace(str(data), str(kept)))
    shutil.copytree(kept / "val", kept / "test")  # of other validation images a report refuses
    page, report = report_run(moved)
    assert (len(report.suspicious.found), report.suspicious.pictures) == (1, {})
    assert "Labels that look wrong" in page.read_text(encoding="utf-8")


def test_where_none_is_found_the_report_has_no_such_section(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "run")
    (moved / FILE).write_text("[]")
    page, report = report_run(moved)
    assert (report.suspicious.found, report.suspicious.verdict) == ([], "")
    assert "Labels that look wrong" not in page.read_text(encoding="utf-8")


def test_where_labels_were_not_judged_nothing_is_said(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "run")
    (moved / FILE).unlink()
    assert report_run(moved)[1].suspicious is None


def test_a_run_that_goes_on_keeps_it(run, tmp_path):
    moved = shutil.copytree(run, tmp_path / "run")
    config = moved / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 0\n", "epochs: 1\n"))
    resume(moved)
    assert (moved / FILE).read_bytes() == (run / FILE).read_bytes()


@pytest.mark.parametrize("content", ["[", "[1]", '[{"image": "a"}]'])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(MaxViTError, match=r"suspicious_labels\.json is damaged: .*; delete it, and the report"):
        read_suspicious(tmp_path)


def test_names_may_hold_any_bytes(tmp_path):
    one = {"image": "\udcff.png", "class": "ant", "probability": 0.0, "likely": "bee", "likely_probability": 1.0}
    (tmp_path / FILE).write_text(json.dumps([one]))
    assert read_suspicious(tmp_path) == [one]

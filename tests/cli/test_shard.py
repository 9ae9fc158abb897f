"""maxvit shard: how many images became how many files; a mistake is one sentence and writes nothing."""

import json

import pytest
from PIL import Image

from maxvit.data.folder import load_folder
from maxvit.data.shards.read import read_shards
from maxvit.data.shards.write import write_shards
from small import write_images, write_truncated_jpeg


def test_a_folder_becomes_shards_and_what_was_written_is_said(run, images, tmp_path):
    out = tmp_path / "out"
    code, said, err = run("shard", images, out)
    size = sum(path.stat().st_size for path in out.glob("*.tar")) / 2**20
    assert (code, err) == (0, "data: 24 images of 3 classes (19 training, 5 validation)\n")
    assert said == f"train 19 images in 1 shard\nval   5 images in 1 shard\nwrote {out}: {size:.1f} MB\n"
    assert len(read_shards(out).train) == 19


def test_options_reach_what_they_name(run, tmp_path, monkeypatch):
    folder, got = write_images(tmp_path / "folder", 10), []

    def record(splits, out, shard_bytes, seed, watch):
        got.append((len(splits.val), shard_bytes, seed))
        return write_shards(splits, out, shard_bytes, seed, watch)

    monkeypatch.setattr("maxvit.data.shards.write.write_shards", record)
    code, said, _ = run(
        "shard", folder, tmp_path / "out", "--shard-size", 3, "--val-fraction", 0.3, "--seed", 7, "--json"
    )
    assert code == 0
    assert got == [(9, 3 * 2**20, 7)]
    assert json.loads(said) == {
        "out": str(tmp_path / "out"),
        "images": {"train": 21, "val": 9},
        "shards": {"train": 1, "val": 1},
        "bytes": sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar")),
        "skipped": 0,
    }
    assert sorted(read_shards(tmp_path / "out").val.names) == sorted(load_folder(folder, 0.3, 7).val.names)


def test_images_that_cannot_be_read_are_named_on_standard_error(run, tmp_path):
    folder = write_images(tmp_path / "folder")
    for i in range(12):
        write_truncated_jpeg(folder / "red" / f"half-{i}.jpg")
    code, said, err = run("shard", folder, tmp_path / "out", "--json")
    assert code == 0
    assert json.loads(said)["skipped"] == 12
    assert sum(json.loads(said)["images"].values()) == 24
    lines = err.splitlines()[1:]
    assert len(lines) == 11
    assert all(line.startswith("left out: ") and ".jpg is damaged" in line for line in lines[:10])
    assert lines[10] == "12 of the images could not be read and were left out"


def test_help_says_what_happens_after_an_interruption(run):
    code, said, _ = run("shard", "--help")
    assert code == 0
    assert "the same command starts over" in " ".join(said.split())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "out holds index.json already: choose a folder that is empty or does not exist"),
        (("--val-fraction", "1"), "--val-fraction is 1.0: give a share between 0 and 1"),
        (("--val-fraction", "nan"), "--val-fraction is nan: give a share between 0 and 1"),
        (("--shard-size", "0"), "Invalid value for '--shard-size'"),
        (("--seed", "-1"), "Invalid value for '--seed'"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(run, images, tmp_path, options, says):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "index.json").write_text("mine")
    code, said, err = run("shard", images, tmp_path / "out", *options)
    assert (code, said) == (2, "")
    assert says in err.splitlines()[-1]
    assert [path.read_text() for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_shards_inside_the_folder_would_be_a_class_and_are_refused(run, tmp_path):
    folder = write_images(tmp_path / "folder")
    code, _, err = run("shard", folder, folder / "shards")
    assert (code, err.count("\n")) == (2, 1)
    assert "where each folder is a class: choose a folder outside" in err
    assert not (folder / "shards").exists()


def test_a_folder_that_is_missing_is_named(run, tmp_path):
    code, _, err = run("shard", tmp_path / "gone", tmp_path / "out")
    assert (code, err) == (2, f"error: {tmp_path / 'gone'} does not exist: check the path\n")
    assert not (tmp_path / "out").exists()


def test_data_of_another_task_is_not_sharded_and_the_advice_is_a_command_that_there_is(run, tmp_path):
    for name in ("images/0.png", "masks/0.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "data" / name)
    code, _, err = run("shard", tmp_path / "data", tmp_path / "out")
    assert code == 2
    assert err.endswith("shards hold classes; maxvit train takes the folder as it is, with --task segmentation\n")

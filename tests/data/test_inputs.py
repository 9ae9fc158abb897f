"""What there is to predict, of every kind of source."""

import pytest

from maxvit.data.inputs import Joined, gather
from maxvit.errors import MaxViTError
from shard_samples import picture, sample, write_small, write_tar


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for i, name in enumerate(("b.png", "a.png", "more/c.png")):
        (tmp_path / "photos" / name).write_bytes(picture(i, "PNG"))
    return tmp_path / "photos"


def test_files_and_folders_come_in_order_and_each_image_once(folder):
    found = gather([folder / "b.png", folder, "none.png"])
    assert list(found.names) == [*(f"{folder}/{name}" for name in ("b.png", "a.png", "more/c.png")), "none.png"]
    assert list(map(str, found.sources)) == list(found.names)
    assert found.labels is None


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ("path\na.png\ngone.png\n", None),
        ("path,label\na.png,cat\ngone.png,\n", ["cat", ""]),
        ("path,labels\na.png,cat|dog\ngone.png,\n", ["cat|dog", ""]),
        ("id,path\n1,a.png\n2,gone.png\n", None),
    ],
)
def test_a_list_needs_paths_alone_and_may_name_what_is_gone(folder, content, labels):
    (folder / "list.csv").write_text(content)
    found = gather([folder / "list.csv"])
    assert list(found.names) == ["a.png", "gone.png"]
    assert list(found.sources) == [folder / "a.png", folder / "gone.png"]
    assert found.labels == labels


def test_every_split_of_shards_is_taken_with_its_classes(tmp_path):
    found = gather([write_small(tmp_path)])
    assert len(found) == len(set(found.names)) == 40
    assert [name.split("/")[0] for name in found.names] == ["train"] * 27 + ["val"] * 8 + ["test"] * 5
    assert [name.split("/")[1] for name in found.names] == found.labels
    copied = [i for i in range(40) if found.names[i].endswith((".jpg", ".webp"))]
    assert len(copied) > 10
    assert all(found.sources[i] == (tmp_path / "folder" / found.names[i]).read_bytes() for i in copied)


def test_shards_need_no_split_for_validation(tmp_path):
    write_tar(tmp_path / "test-0.tar", *sample("a", 3, 5))
    found = gather([str(tmp_path)])
    assert (list(found.names), found.labels, list(found.sources)) == (["test/a.jpg"], ["3"], [picture(5)])


@pytest.mark.parametrize(
    ("places", "sentence"),
    [
        ([], "there are no images to predict"),
        (["photos/empty"], "folder photos/empty holds no images"),
        (["list.csv", "photos"], r"list\.csv is given with 1 more: give a list or shards alone"),
        (["photos/b.png", "s3://bucket/shards"], "s3://bucket/shards is given with 1 more"),
        (["nowhere.csv"], r"nowhere\.csv does not exist"),
        (["list.csv"], r"list\.csv has the columns 'image', and none names images in \."),
    ],
)
def test_what_cannot_be_used_is_named(folder, tmp_path, monkeypatch, places, sentence):
    monkeypatch.chdir(tmp_path)
    (folder / "empty").mkdir()
    (tmp_path / "list.csv").write_text("image\nz.png\n")
    with pytest.raises(MaxViTError, match=sentence):
        gather(places)


def test_joined_sequences_are_those_of_their_parts():
    parts = [[], [2, 3, 5], [], [7], [11, 13]]
    joined = Joined(parts)
    assert list(joined) == [2, 3, 5, 7, 11, 13]
    assert (len(joined), joined[3], list(joined[1:5:2])) == (6, 7, [3, 7])
    assert len(Joined([])) == 0

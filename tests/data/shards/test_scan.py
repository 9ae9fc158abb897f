"""Shards of other programs are read through once; what a tar file must not hold is named with its place."""

import pytest

from maxvit.data.load import load_images
from maxvit.data.shards import read as shards
from maxvit.data.shards.read import read_shards
from maxvit.errors import MaxViTError
from shard_samples import picture, sample, two_splits, write_foreign, write_tar


@pytest.mark.parametrize("label", ["cls", "json"])
def test_what_the_webdataset_library_wrote_is_read_and_its_index_is_kept(tmp_path, label, monkeypatch):
    folder = write_foreign(tmp_path / "foreign", label)
    first = read_shards(folder)
    assert (folder / "index.json").is_file()
    monkeypatch.setattr(shards, "scan_shards", None)  # it is not scanned again
    for splits in (first, read_shards(folder)):
        assert list(splits.train.sources) == [picture(i) for i in range(12)]
        assert list(splits.train.labels) == [i % 3 for i in range(12)]
        assert list(splits.train.names) == [f"train/sample{i:03}.jpg" for i in range(12)]
        assert list(splits.train.shards) == [i // 4 for i in range(12)]
        assert list(splits.val.sources) == [picture(i) for i in range(3)]
        assert splits.val.class_names == ["0", "1", "2"]
        assert splits.test is None


def test_class_names_stand_in_a_file_beside_the_shards(tmp_path):
    folder = write_foreign(tmp_path / "foreign")
    (folder / "classes.txt").write_text("\ufeffcat\r\ndog\r\neel\r\nfox\r\n", encoding="utf-8")
    for _ in range(2):
        assert read_shards(folder).train.class_names == ["cat", "dog", "eel", "fox"]


def test_labels_that_nobody_named_get_the_model_s_names(tmp_path):
    folder = write_foreign(tmp_path / "foreign")
    assert read_shards(folder, ["a", "b", "c", "d"]).train.class_names == ["a", "b", "c", "d"]
    with pytest.raises(MaxViTError, match="labels up to 2, and the model 2 classes"):
        read_shards(folder, ["a", "b"])


def test_a_folder_that_cannot_be_written_to_is_read_without_an_index(tmp_path, monkeypatch):
    folder = write_foreign(tmp_path / "foreign")

    def refuse(*_):
        raise MaxViTError("read only")

    monkeypatch.setattr("maxvit.storage.write_atomically", refuse)
    assert len(read_shards(folder).train) == 12
    assert sorted(path.suffix for path in folder.iterdir()) == [".tar"] * 4


def test_a_file_that_another_process_is_writing_next_to_the_shards_is_no_class(tmp_path):
    folder = write_foreign(tmp_path / "foreign")
    (folder / ".index.json.12345678").mkdir()
    assert len(load_images(str(folder)).train) == 12


def test_ours_without_an_index_are_scanned_to_the_same_data_set(out):
    before = read_shards(out)
    indices = {name: (out / name).read_bytes() for name in ("index.json", "train.npz", "val.npz", "test.npz")}
    for name in indices:
        (out / name).unlink()
    after = read_shards(out)
    assert list(after.train.sources) == list(before.train.sources)
    assert {name: (out / name).read_bytes() for name in indices} == indices


def test_folders_hidden_files_and_notes_in_a_tar_are_no_samples(tmp_path):
    notes = (("__meta__/info.txt", b"x"), ("._a.jpg", b"x"), ("README", b"x"))
    folder = two_splits(tmp_path / "foreign", *notes, *sample("v1.0/a", 0), *sample("b", 1))
    assert list(read_shards(folder).train.names) == ["v1.0/a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([("a.jpg", picture())], "train-00.tar: sample 'a' at byte 512 has no label: add a.cls"),
        ([("a.cls", b"0")], "train-00.tar: sample 'a' at byte 512 has no image among its files cls"),
        ([*sample("b", 0), ("a.png", picture()), ("a.jpg", picture())], "'a' at byte 3072 has 2 images (png, jpg)"),
        ([("a.jpg", b""), ("a.cls", b"0")], "the image of 'a' at byte 512 is empty"),
        ([*sample("a", 0), *sample("b", 0), *sample("a", 0)], "has a sample 'a', and train-00.tar has one"),
        ([*sample("a", 0), *sample("a", 1)], "train-00.tar has two files a.jpg"),
        ([*sample("a", "cat")], "the label of 'a', 'cat', is not an integer"),
        ([*sample("a", 1.5)], "the label of 'a', '1.5', is not an integer"),
        ([*sample("a", "")], "the label of 'a', '', is not an integer"),
        ([*sample("a", "9" * 30)], "is not an integer"),
        ([*sample("a", -1)], "the label of 'a' is -1, and 0 or more is allowed"),
        ([("a.jpg", picture()), ("a.json", b'{"label": "cat"}')], """of 'a', '{"label": "cat"}', is not an integer"""),
        ([("a.jpg", picture()), ("a.json", b'{"label": true}')], "is not an integer"),
        ([("a.jpg", picture()), ("a.json", b'{"class": 1}')], "is not an integer"),
        ([("a.jpg", picture()), ("a.json", b"[" * 9999)], "is not an integer"),
    ],
)  # fmt: skip
def test_a_sample_that_is_not_as_it_should_be_is_named(tmp_path, files, says):
    folder = two_splits(tmp_path / "foreign", *files)
    with pytest.raises(MaxViTError) as error:
        read_shards(folder)
    assert says in str(error.value)
    assert str(error.value).startswith(str(folder))
    assert not list(folder.glob("*.npz"))


def test_a_key_that_two_shards_of_a_split_share_is_named(tmp_path):
    folder = two_splits(tmp_path / "foreign")
    write_tar(folder / "train-01.tar", *sample("z", 0), *sample("b", 0))
    with pytest.raises(MaxViTError, match=r"train-01\.tar has a sample 'b', and train-00\.tar has one before it"):
        read_shards(folder)


def test_a_label_beyond_the_named_classes_is_named(tmp_path):
    folder = two_splits(tmp_path / "foreign")
    (folder / "classes.txt").write_text("cat\n")
    with pytest.raises(MaxViTError, match=r"label of 'b' is 1, and 0 to 0 by classes\.txt is allowed"):
        read_shards(folder)


@pytest.mark.parametrize("names", [b"", b"cat\n\ndog\n", b"cat\ncat\n", "ä\nb\n".encode("utf-16")])
def test_class_names_that_cannot_be_are_refused(tmp_path, names):
    folder = two_splits(tmp_path / "foreign")
    (folder / "classes.txt").write_bytes(names)
    with pytest.raises(MaxViTError, match=r"classes\.txt (must name each class once|is not UTF-8 text)"):
        read_shards(folder)


@pytest.mark.parametrize("where", ["header", "image", "between", "end", "all"])
def test_a_truncated_tar_is_refused(tmp_path, where):
    folder = two_splits(tmp_path / "foreign")
    path = folder / "train-00.tar"
    image = -(-len(picture()) // 512) * 512
    end = 4 * 512 + 2 * 512 + 2 * image
    length = {"header": 100, "image": 700, "between": 512 + image, "end": end, "all": 0}[where]
    with path.open("r+b") as file:
        file.truncate(length)
    with pytest.raises(MaxViTError, match=r"train-00\.tar is truncated,? or .* byte \d+.*: copy it again"):
        read_shards(folder)


def test_a_damaged_header_is_no_end(tmp_path):
    """tarfile takes it for one, and the rest would be lost without a word."""
    folder = two_splits(tmp_path / "foreign")
    path = folder / "train-00.tar"
    content = bytearray(path.read_bytes())
    second = content.index(b"b.jpg")
    content[second : second + 512] = b"?" * 512
    path.write_bytes(content)
    with pytest.raises(MaxViTError, match=rf"train-00\.tar is truncated or damaged at byte {second}, where"):
        read_shards(folder)


def test_a_text_file_is_no_tar(tmp_path):
    folder = two_splits(tmp_path / "foreign")
    (folder / "val-01.tar").write_text("text" * 500)
    with pytest.raises(MaxViTError, match=r"val-01\.tar is truncated, or not a plain tar file"):
        read_shards(folder)


@pytest.mark.parametrize("name", ["00000.tar", "data-train.tar", "Train.tar"])
def test_a_shard_of_no_split_is_named(tmp_path, name):
    folder = two_splits(tmp_path / "foreign")
    write_tar(folder / name, *sample("z", 0))
    with pytest.raises(MaxViTError, match=rf"{name} is of no split: rename shards so that each begins with train, val"):
        read_shards(folder)


@pytest.mark.parametrize(("gone", "kept"), [("train", "val"), ("val", "train")])
def test_without_train_or_val_the_user_is_told_to_rename_some(tmp_path, gone, kept):
    folder = two_splits(tmp_path / "foreign")
    (folder / f"{gone}-00.tar").unlink()
    for _ in range(2):  # with and without an index
        with pytest.raises(MaxViTError, match=rf"no {gone} images: rename some of the shards to {gone}-\*\.tar"):
            read_shards(folder)
    (folder / "index.json").unlink()
    (folder / f"{kept}-00.tar").rename(folder / f"{gone}-00.tar")
    with pytest.raises(MaxViTError, match=f"no {kept} images"):
        read_shards(folder)


def test_a_folder_that_is_missing_empty_or_a_file_is_named(tmp_path):
    with pytest.raises(MaxViTError, match="gone does not exist: check the path"):
        read_shards(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MaxViTError, match="empty holds no tar files: make shards with maxvit shard"):
        read_shards(tmp_path / "empty")
    (tmp_path / "a.tar").touch()
    with pytest.raises(MaxViTError, match=r"a\.tar is a file, and a folder with tar files is wanted"):
        read_shards(tmp_path / "a.tar")


def test_numbers_that_cannot_be_classes_are_refused(tmp_path):
    with pytest.raises(
        MaxViTError, match=r"has labels up to 123456789012: number the classes from 0 on, and delete ind"
    ):
        read_shards(two_splits(tmp_path / "foreign", *sample("a", 123456789012)))


def test_a_table_of_somebody_else_is_not_written_over(tmp_path):
    folder = write_foreign(tmp_path / "foreign")
    (folder / "train.npz").write_bytes(b"mine")
    assert len(read_shards(folder).train) == 12
    assert (folder / "train.npz").read_bytes() == b"mine"
    assert not (folder / "index.json").exists()


def test_an_index_that_was_removed_is_made_again(tmp_path):
    folder = write_foreign(tmp_path / "foreign")
    read_shards(folder)
    (folder / "index.json").unlink()
    read_shards(folder)
    assert (folder / "index.json").is_file()


def test_an_index_of_another_program_makes_no_shards(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / f"{i}.jpg").write_bytes(picture(i))
    (tmp_path / "index.json").write_text('{"title": "photographs"}')
    assert load_images(str(tmp_path), 0.5, 0).train.class_names == ["a", "b"]

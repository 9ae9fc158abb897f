"""Shards are a list of images like any other; an index that does not fit them is refused when they are opened."""

import gc
import json
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from loaders import evaluation_loader, training_loader
from maxvit.config import Preprocessing
from maxvit.data.folder import load_folder
from maxvit.data.images import decode
from maxvit.data.shards import read as shards
from maxvit.data.shards.read import read_shards
from maxvit.errors import MaxViTError


def edit(path, change):
    """Change index.json in place."""
    head = json.loads(path.read_text())
    change(head)
    path.write_text(json.dumps(head))


def test_shards_hold_the_images_labels_and_names_of_the_folder(made):
    folder, back = load_folder(made / "folder"), read_shards(made / "shards")
    for name in ("train", "val", "test"):
        ours, theirs = getattr(folder, name), getattr(back, name)
        assert theirs.class_names == ["cat", "dog", "eel"]
        assert len(theirs) == len(theirs.sources) == len(theirs.names) == len(ours)
        keys = [name.rsplit(".", 1)[0] for name in theirs.names]
        found = dict(zip(keys, zip(theirs.sources, theirs.labels, strict=True), strict=True))
        for image, label, source in zip(ours.names, ours.labels, ours.sources, strict=True):
            content, said = found[image.rsplit(".", 1)[0]]
            assert said == label
            assert np.array_equal(decode(content), decode(source))
            assert source.suffix == ".tif" or content == source.read_bytes()


def test_each_image_says_its_shard_and_shards_follow_one_another(made):
    train = read_shards(made / "shards").train
    assert sorted(set(train.shards)) == list(range(len(list((made / "shards").glob("train-*.tar")))))
    assert list(train.shards) == sorted(train.shards)
    assert load_folder(made / "folder").train.shards is None


def test_items_are_those_of_a_list_from_both_ends(made):
    sources, names = (getattr(read_shards(made / "shards").train, what) for what in ("sources", "names"))
    for lazy in (sources, names):
        whole = list(lazy)
        assert len(whole) == len(set(whole)) == 27
        assert [lazy[i] for i in range(-27, 0)] == whole
        assert list(lazy[3:20:4]) == whole[3:20:4]
        assert list(lazy[::-1]) == whole[::-1]
        assert lazy.index(whole[11]) == 11
        for i in (27, -28):
            with pytest.raises(IndexError):
                lazy[i]


def test_a_subset_reads_nothing_until_it_is_asked(made, monkeypatch):
    train = read_shards(made / "shards").train
    whole = list(train.sources)
    with monkeypatch.context() as patch:
        patch.setattr(shards.ShardImages, "__getitem__", None)
        part = train.subset([11, 2, 7]).subset([2, 0])
    assert list(part.sources) == [whole[7], whole[11]]
    assert list(part.names) == [train.names[7], train.names[11]]
    assert part.labels == [train.labels[7], train.labels[11]]
    assert part.shards == [train.shards[7], train.shards[11]]


def test_a_data_set_that_was_read_from_can_be_pickled_and_opens_its_own_files(made):
    train = read_shards(made / "shards").train
    whole, names, labels = list(train.sources), list(train.names), list(train.labels)
    again = pickle.loads(pickle.dumps(train))
    del train  # and its open files
    assert (list(again.sources), list(again.names), list(again.labels)) == (whole, names, labels)


def test_few_files_are_open_at_once_and_all_are_closed(made):
    def count():
        """Those of this process's open files that are shards."""
        return sum(path.resolve().suffix == ".tar" for path in Path("/proc/self/fd").iterdir())

    gc.collect()
    before = count()
    train = read_shards(made / "shards").train
    assert len(set(train.shards)) > shards._OPEN_AT_ONCE / 2
    assert 1 < max(count() for _ in train.sources) - before <= shards._OPEN_AT_ONCE
    del train
    assert count() == before


def test_reading_with_fewer_open_files_than_shards_gives_the_same(made, monkeypatch):
    whole = list(read_shards(made / "shards").train.sources)
    monkeypatch.setattr(shards, "_OPEN_AT_ONCE", 2)
    train = read_shards(made / "shards").train
    order = np.random.default_rng(0).integers(27, size=300)
    assert all(train.sources[i] == whole[i] for i in order)
    assert len(train.sources._open) == 2


def test_threads_may_read_at_once(made, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN_AT_ONCE", 1)
    train, wrong = read_shards(made / "shards").train, []
    whole = list(train.sources)

    def read(seed):
        for i in np.random.default_rng(seed).integers(27, size=500):
            if train.sources[i] != whole[i]:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loaders_give_what_they_give_of_the_folder_in_any_process(made, context):
    spec = Preprocessing(image_size=(32, 41))
    train = read_shards(made / "shards").train
    train.sources[0], train.sources[26]  # files are open when the workers begin
    loaders = [training_loader(train, spec, "photos", 4, workers, 5) for workers in (0, 2)]
    loaders[1].multiprocessing_context = context
    alone, helped = map(list, loaders)
    assert len(alone) == len(helped) == 7
    for first, second in zip(alone, helped, strict=True):
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.targets, second.targets)
    assert sum(len(batch.targets) for batch in evaluation_loader(train, spec, 4)) == 27


def test_a_model_s_classes_decide_the_labels(made):
    plain, wanted = read_shards(made / "shards").val, ["eel", "ant", "cat", "dog"]
    given = read_shards(made / "shards", wanted).val
    assert given.class_names == wanted
    assert [wanted[k] for k in given.labels] == [plain.class_names[k] for k in plain.labels]
    with pytest.raises(MaxViTError, match="'dog' is not a class of the model; its 2 classes are cat, eel"):
        read_shards(made / "shards", ["cat", "eel"])


def move_one_image(head):
    head["splits"]["val"]["shards"][0]["samples"] += 1
    head["splits"]["val"]["shards"][1]["samples"] -= 1


def test_a_shard_shorter_than_its_index_says_is_truncated(out):
    with (out / "train-000003.tar").open("r+b") as file:
        file.truncate(1500)
    size = (out / "train-000003.tar").stat().st_size
    with pytest.raises(MaxViTError, match=rf"3\.tar has {size} bytes, and index\.json says \d+; it is truncated"):
        read_shards(out)


def test_a_longer_a_missing_and_a_new_shard_are_named(out):
    (out / "val-000007.tar").write_bytes(b"new")
    with pytest.raises(MaxViTError, match=r"val-000007\.tar is not in index\.json: remove it, or delete index\.json"):
        read_shards(out)
    (out / "val-000007.tar").unlink()
    with (out / "val-000001.tar").open("ab") as file:
        file.write(b"more")
    with pytest.raises(MaxViTError, match=r"val-000001\.tar has \d+ bytes, and index\.json says \d+; it is not"):
        read_shards(out)
    (out / "val-000001.tar").unlink()
    with pytest.raises(MaxViTError, match=r"val-000001\.tar is missing, and index\.json names it: restore it"):
        read_shards(out)


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.pop("version"),
        lambda head: head.pop("splits"),
        lambda head: head.update(class_names=[]),
        lambda head: head.update(class_names=[1, 2, 3]),
        lambda head: head.update(splits=[]),
        lambda head: head["splits"]["train"].pop("index"),
        lambda head: head["splits"]["train"].update(shards=3),
        lambda head: head["splits"]["train"]["shards"][0].pop("bytes"),
        lambda head: head["splits"]["train"]["shards"][0].update(name="../other.tar"),
        lambda head: head["splits"]["train"]["shards"][0].update(samples="3"),
    ],
)
def test_an_index_with_something_missing_or_wrong_is_damaged(out, change):
    edit(out / "index.json", change)
    with pytest.raises(MaxViTError, match=r"index\.json is damaged \(.*\): delete index\.json to have it made again"):
        read_shards(out)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 99999, b'"text"', b"null"])
def test_an_index_that_is_no_json_object_is_damaged(out, content):
    (out / "index.json").write_bytes(content)
    with pytest.raises(MaxViTError, match=r"index\.json is damaged"):
        read_shards(out)


def test_an_index_of_another_format_or_a_later_version_is_named(out):
    edit(out / "index.json", lambda head: head.update(version=2))
    with pytest.raises(MaxViTError, match=r"index\.json has version 2, and this maxvit reads 1: update maxvit"):
        read_shards(out)
    edit(out / "index.json", lambda head: head.update(format="other"))
    with pytest.raises(MaxViTError, match=r"index\.json is an index of 'other', not of 'maxvit-shards'"):
        read_shards(out)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda head: head["splits"]["val"]["shards"][0].update(samples=99), r"does not hold the \d+ images"),
        (lambda head: head["splits"]["val"].update(index="train.npz"), "train.npz does not hold the 8 images"),
        (lambda head: head["splits"]["val"].update(index="gone.npz"), "gone.npz is missing, and index.json names it"),
        (move_one_image, "val.npz puts other numbers of images into the shards than index.json says"),
        (
            lambda head: head["splits"]["val"]["shards"][0].update(bytes=100),
            r"bytes from \d+ on in val-000000.tar, which",
        ),
        (lambda head: head.update(class_names=["cat", "dog"]), "the label 2, which is not a class"),
    ],
)
def test_a_table_that_does_not_fit_its_index_is_named(out, change, says):
    edit(out / "index.json", change)
    with pytest.raises(MaxViTError, match=says):
        read_shards(out)


def test_a_table_with_any_byte_changed_is_refused_or_the_same(out):
    whole = (out / "val.npz").read_bytes()
    names, labels = list(read_shards(out).val.names), list(read_shards(out).val.labels)
    random, refused = np.random.default_rng(0), 0
    for i in random.integers(len(whole), size=200):
        content = bytearray(whole)
        content[i] ^= int(random.integers(1, 256))
        (out / "val.npz").write_bytes(content)
        try:
            val = read_shards(out).val
        except MaxViTError:
            refused += 1
        else:  # a byte that says nothing, such as a date
            assert (list(val.names), list(val.labels)) == (names, labels)
    assert refused > 100
    for content in (b"", whole[:500], b"text", np.lib.format.magic(1, 0)):
        (out / "val.npz").write_bytes(content)
        with pytest.raises(MaxViTError, match=r"val\.npz is damaged"):
            read_shards(out)


def test_a_shard_that_is_lost_while_it_is_read_stops_the_reading(out):
    """A broken image is left out by the loader; of a lost shard that would be thousands, without a word."""
    train = read_shards(out).train
    with (out / "train-000000.tar").open("r+b") as file:
        file.truncate(600)
    with pytest.raises(OSError, match=r"train-000000\.tar has become shorter than it was: restore it"):
        train.sources[0]
    (out / "train-000001.tar").unlink()
    with pytest.raises(FileNotFoundError):
        train.sources[list(train.shards).index(1)]

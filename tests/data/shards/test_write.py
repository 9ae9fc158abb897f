"""What is written holds each image once, as it was, the same each time; what is half-written is known as such."""

import hashlib
import io
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from webdataset.tariterators import group_by_keys, tar_file_expander

from maxvit.config import Preprocessing
from maxvit.data.builtin import load_digits
from maxvit.data.dataset import LabelledImages, Splits
from maxvit.data.folder import load_folder
from maxvit.data.images import decode
from maxvit.data.shards.read import read_shards
from maxvit.data.shards.write import unique_keys, write_shards
from maxvit.data.value_range import measure_range
from maxvit.errors import MaxViTError
from shard_samples import picture, write_folder, write_small
from small import write_truncated_jpeg


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "folder")


def digests(out):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.iterdir()}


def members(tar):
    with tarfile.open(tar) as file:
        return [(info, file.extractfile(info).read()) for info in file]


def by_webdataset(out, split):
    """key: (extension, bytes, label), as that library reads the shards."""
    found = {}
    for path in sorted(out.glob(f"{split}-*.tar")):
        with path.open("rb") as stream:  # its own opener leaves files open
            for sample in group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])):
                (extension,) = [name for name in sample if name != "cls" and not name.startswith("__")]
                assert sample["__key__"] not in found
                found[sample["__key__"]] = extension, sample[extension], int(sample["cls"])
    return found


def test_the_webdataset_library_reads_every_image_once_with_its_bytes_and_label(folder, tmp_path):
    splits = load_folder(folder)
    write_shards(splits, tmp_path / "out", 2500)
    for name, part in {"train": splits.train, "val": splits.val, "test": splits.test}.items():
        found = by_webdataset(tmp_path / "out", name)
        assert len(found) == len(part)
        for source, label in zip(part.sources, part.labels, strict=True):
            extension, content, said = found[f"{source.parent.name}/{source.stem}"]
            assert said == label
            if source.suffix == ".tif":
                assert extension == "png"
                assert np.array_equal(decode(content), decode(source))
            else:
                assert (f".{extension}", content) == (source.suffix, source.read_bytes())


def test_a_second_writing_gives_the_same_bytes_and_another_seed_another_order(folder, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_shards(load_folder(folder), tmp_path / name, 2500, seed)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() >= {"index.json", "train.npz", "train-000000.tar", "val-000000.tar", "test-000000.tar"}
    assert first["train-000000.tar"] != other["train-000000.tar"]
    assert first["val-000000.tar"] == other["val-000000.tar"]  # a split that is not learned from needs no mixing


def test_members_belong_to_nobody_and_no_time(folder, tmp_path):
    write_shards(load_folder(folder), tmp_path / "out")
    infos = [info for info, _ in members(tmp_path / "out" / "train-000000.tar")]
    assert {(i.mtime, i.uid, i.gid, i.uname, i.gname, i.mode) for i in infos} == {(0, 0, 0, "", "", 0o644)}


def test_training_shards_mix_the_classes(tmp_path):
    labels = [i // 50 for i in range(150)]
    images = LabelledImages([picture(i) for i in range(150)], labels, list("abc"), [f"{i}" for i in range(150)])
    write_shards(Splits(images, images), tmp_path / "out", 40_000)
    shards = sorted((tmp_path / "out").glob("train-*.tar"))
    assert len(shards) > 3
    for path in shards:
        assert {content for info, content in members(path) if info.name.endswith(".cls")} == {b"0", b"1", b"2"}


@pytest.mark.parametrize("limit", [1, 5000, 10**9])
def test_a_shard_is_full_at_the_size_asked_for(folder, tmp_path, limit):
    done = write_shards(load_folder(folder), tmp_path / "out", limit)
    paths = sorted((tmp_path / "out").glob("train-*.tar"))
    assert [path.name for path in paths] == [f"train-{i:06}.tar" for i in range(done.shards["train"])]
    contents = [members(path) for path in paths]
    assert sum(map(len, contents)) == 2 * 27
    for path, content in zip(paths, contents, strict=True):
        last = sum(512 + len(data) + -len(data) % 512 for _, data in content[-2:])
        assert path.stat().st_size - 1024 - last < limit
    for path in paths[:-1]:
        assert path.stat().st_size - 1024 >= limit
    assert len(paths) == {1: 27, 10**9: 1}.get(limit, len(paths))


def test_arrays_become_png_files_of_the_same_pixels(tmp_path):
    digits = load_digits()
    done = write_shards(digits, tmp_path / "out")
    back = read_shards(tmp_path / "out")
    assert done.images == {"train": 1293, "val": 144, "test": 360}
    assert list(back.test.labels) == digits.test.labels
    for source, content in zip(digits.test.sources, back.test.sources, strict=True):
        assert Image.open(io.BytesIO(content)).format == "PNG"
        assert np.array_equal(decode(content), decode(source))


def test_values_above_8_bits_keep_their_file(tmp_path):
    """Their range is measured over the data set, from shards as from files."""
    paths = []
    for number, kind in enumerate(("tif", "png")):
        paths.append(tmp_path / f"{number}.{kind}")
        Image.fromarray(np.full((4, 5), 300 + number, np.uint16)).save(paths[-1])
    images = LabelledImages(paths, [0, 0], ["a"], [path.name for path in paths])
    write_shards(Splits(images, images), tmp_path / "out")
    found = by_webdataset(tmp_path / "out", "val")
    assert found == {path.stem: (path.suffix[1:], path.read_bytes(), 0) for path in paths}
    assert measure_range(read_shards(tmp_path / "out").val.sources, Preprocessing())[0] == (300, 301)


def test_images_that_cannot_be_decoded_are_left_out_and_named(tmp_path):
    folder = write_folder(tmp_path / "folder")
    write_truncated_jpeg(folder / "train" / "dog" / "half.jpg")
    (folder / "val" / "eel" / "text.png").write_text("text")
    done = write_shards(load_folder(folder), tmp_path / "out")
    assert done.images == {"train": 27, "val": 8, "test": 5}
    assert len(done.skipped) == 2
    assert "dog/half.jpg is damaged" in done.skipped[0]
    assert "eel/text.png is not an image" in done.skipped[1]
    assert len(by_webdataset(tmp_path / "out", "train")) == 27


def test_an_array_that_is_no_image_is_called_by_its_name(tmp_path):
    images = LabelledImages([picture(), np.zeros(3, np.uint8)], [0, 1], ["a", "b"], ["good", "line"])
    done = write_shards(Splits(images, images), tmp_path / "out")
    assert done.skipped == ["line: an array of shape (3,) is not an image; give (H, W), (H, W, 3) or (H, W, 4)"] * 2


def test_a_split_without_a_readable_image_is_refused(tmp_path):
    good = LabelledImages([picture()], [0], ["a"], ["good"])
    bad = LabelledImages([b"text", b"text"], [0, 0], ["a"], ["one", "two"])
    with pytest.raises(MaxViTError, match="none of the 2 val images can be read; the first: one: the data is not an"):
        write_shards(Splits(good, bad), tmp_path / "out")


def test_keys_are_unique_and_hold_no_dot():
    paths = ["cat/a.b.jpg", "cat/a_b.jpg", "cat/a.b.png", "a.d/1.JPG", "/abs/x.png", "../up.png", "digit 5", "a_b-2"]
    keys = unique_keys([*paths, "", "__x__/1.jpg", "cat/\udce9.jpg", "é/ü.jpg", "v1.5"])
    wanted = ["cat/a_b", "cat/a_b-2", "cat/a_b-3", "a_d/1", "abs/x", "up", "digit 5", "a_b-2", "image"]
    assert keys == [*wanted, "x__/1", "cat/_", "é/ü", "v1_5"]
    assert Counter(unique_keys(["a.b", "a.b", "a_b-2", "a_b", "a_b-2"])).most_common(1)[0][1] == 1


def test_long_and_foreign_names_are_read_by_webdataset_and_by_us(tmp_path):
    names = [f"{'long/' * 60}{'x' * 90}.jpg", "日本語/猫.jpg", "a b/ä'\".jpg"]
    images = LabelledImages([picture(i) for i in range(3)], [0, 1, 0], ["a", "b"], names)
    write_shards(Splits(images, images), tmp_path / "out")
    found, back = by_webdataset(tmp_path / "out", "val"), read_shards(tmp_path / "out").val
    assert list(found) == [name.removesuffix(".jpg") for name in names]
    assert list(back.names) == names
    assert list(back.sources) == list(images.sources) == [content for _, content, _ in found.values()]


def test_several_labels_are_refused(tmp_path):
    images = LabelledImages([picture()] * 2, np.eye(2, dtype=np.float32), ["a", "b"], ["1", "2"])
    with pytest.raises(MaxViTError, match="shards hold one class for each image"):
        write_shards(Splits(images, images), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sizes_and_class_names_that_cannot_be_are_refused(folder, tmp_path):
    with pytest.raises(MaxViTError, match="a shard of 0 bytes holds nothing"):
        write_shards(load_folder(folder), tmp_path / "out", 0)
    images = LabelledImages([picture()], [0], ["a\nb"], ["1"])
    with pytest.raises(MaxViTError, match=r"class 'a\\nb' begins or ends with a blank or holds a line break"):
        write_shards(Splits(images, images), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_refused_and_left_alone(folder, tmp_path):
    out = write_small(tmp_path)
    before = digests(out)
    with pytest.raises(MaxViTError, match=r"shards holds classes\.txt already: choose a folder that is empty"):
        write_shards(load_folder(folder), out)
    assert digests(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train-000000.tar").write_text("mine")
    with pytest.raises(MaxViTError, match=r"mine holds train-000000\.tar already"):
        write_shards(load_folder(folder), tmp_path / "mine")
    assert (tmp_path / "mine" / "train-000000.tar").read_text() == "mine"
    with pytest.raises(MaxViTError, match="is a file: choose another folder"):
        write_shards(load_folder(folder), tmp_path / "mine" / "train-000000.tar")


@pytest.mark.parametrize("after", [0, 5, 27, 39])
def test_an_interrupted_writing_is_known_and_starts_over(folder, tmp_path, after):
    class Stop(BaseException):
        pass

    def stop(order, split):
        nonlocal left
        for i in order:
            if left == 0:
                raise Stop
            left -= 1
            yield i

    left, out = after, tmp_path / "out"
    with pytest.raises(Stop):
        write_shards(load_folder(folder), out, 2500, watch=stop)
    assert not (out / "index.json").exists()
    with pytest.raises(MaxViTError, match="out is unfinished: call maxvit shard again"):
        read_shards(out)
    killed = out / ".train-000003.tar.abc123_x"  # a process while it was writing
    killed.mkdir()
    (killed / "train-000003.tar").write_text("half")
    (out / "notes.md").write_text("the user's")
    write_shards(load_folder(folder), out, 9000)  # fewer shards than before: the others must go
    write_shards(load_folder(folder), tmp_path / "whole", 9000)
    assert digests(out) == digests(tmp_path / "whole") | {"notes.md": hashlib.sha256(b"the user's").hexdigest()}


def test_progress_is_told_in_the_order_of_the_splits(folder, tmp_path):
    told = []

    def watch(order, split):
        told.append((split, len(order)))
        return order

    write_shards(load_folder(folder), tmp_path / "out", watch=watch)
    assert told == [("train", 27), ("val", 8), ("test", 5)]

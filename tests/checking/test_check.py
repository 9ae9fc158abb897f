"""What a whole data set is found to hold, whatever its task; and what a person's decisions make of it."""

import csv
import sys

import numpy as np
import pytest
from blobs import SIZE, half, picture, write
from PIL import Image

import coco_samples
from maxvit import MaxViTError, check
from maxvit.checking.decisions import apply_decisions, write_decisions
from maxvit.data.load import load_images
from shard_samples import write_small


def checked(data, task="classification"):
    return check(data, task, show_progress=False)


@pytest.fixture(scope="module")
def found(folder):
    return checked(folder)


def named(found, pairs):
    names = found.images.names
    return {(names[pair.second], names[pair.first], pair.kind) for pair in pairs}


AGAIN = ("train/dog/again.jpg", "train/dog/6.png", "near copy")
OF_CAT = ("train/dog/small_cat.png", "train/cat/1.png", "near copy")
CROPPED = ("train/cat/cropped.png", "train/cat/3.png", "cropped")
KNOWN = ("test/dog/known.png", "train/dog/7.png", "mirrored")


def test_duplicates_are_told_apart_by_part_and_class(found):
    assert named(found, found.pairs) == {AGAIN, OF_CAT, CROPPED, KNOWN}
    assert named(found, found.between_parts()) == {KNOWN}
    assert named(found, found.under_two_classes()) == {OF_CAT}


def test_sizes_and_classes_are_counted_and_broken_files_named(found, folder):
    assert found.three_sizes() == {"smallest": (23, 30), "median": (47, 61), "largest": (47, 61)}
    assert found.counts == {"cat": 7, "dog": 12}
    (sentence,) = found.unreadable.values()
    assert sentence.startswith(f"{folder / 'train' / 'dog' / 'broken.jpg'} is damaged")


def test_nothing_in_the_data_is_changed(folder):
    def content():
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = content()
    checked(folder)
    assert content() == before


def test_a_wrong_label_is_found(tmp_path):
    for i in range(60):
        pixels = np.random.default_rng(i).integers(0, 60, (40, 48, 3), np.uint8)
        pixels[10:30, 10:30] += np.uint8(120) * np.array([i % 2, 0, 1 - i % 2], np.uint8)
        name = "red" if i % 2 and i != 9 else "blue"
        write(tmp_path / name / f"{i}.png", Image.fromarray(pixels))
    write(tmp_path / "aqua" / "0.png", picture(0))  # a class of one image, which cannot be judged
    (tmp_path / "blue" / "00.png").write_bytes(b"broken")
    result = checked(tmp_path)
    assert [(result.images.names[s.image], result.images.class_names[s.likely]) for s in result.suspicions] == [
        ("blue/9.png", "red")
    ]
    assert result.left_out == ["labels of class 'aqua' were not judged: that takes 5 images of a class"]


def test_without_scikit_learn_a_sentence_says_what_is_left_out(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    result = checked(folder)
    assert (result.suspicions, len(result.pairs)) == ([], 4)
    (sentence,) = result.left_out
    assert sentence.endswith("is not installed: pip install 'maxvit[train]'")


def segmentation(folder):
    for i in range(4):
        write(folder / "images" / f"{i}.png", picture(min(i, 1) if i == 3 else i))
        write(folder / "masks" / f"{i}.png", Image.new("L", SIZE, i % 2))
    return {("images/3.png", "images/1.png", "same file")}


def detection(folder):
    coco_samples.write_coco(folder)
    return set()


def aesthetics(folder):
    for i in range(3):
        write(folder / "images" / f"{i}.png", picture(i % 2))
    scores = ",".join("1" * 10)
    header = ",".join(["image", *map(str, range(1, 11))])
    (folder / "scores.csv").write_text("\n".join([header, *(f"{i}.png,{scores}" for i in range(3))]))
    return {("images/2.png", "images/0.png", "same file")}


@pytest.mark.parametrize("task", [segmentation, detection, aesthetics])
def test_images_of_every_task_are_looked_at_and_their_labels_left_alone(tmp_path, task):
    expected = task(tmp_path)
    result = checked(tmp_path, task.__name__)
    assert named(result, result.pairs) == expected
    assert result.suspicions == []
    assert result.left_out == ["labels were not judged: that takes images with exactly one class each"]


def test_images_of_a_list_are_called_as_in_it_and_others_by_their_path(tmp_path):
    elsewhere = write(tmp_path / "elsewhere" / "b.png", picture(1))
    write(tmp_path / "list" / "a.png", picture(0))
    (tmp_path / "list" / "list.csv").write_text(f"path,label,split\na.png,cat,train\n{elsewhere},dog,test\n")
    assert checked(tmp_path / "list" / "list.csv").images.names == ["a.png", str(elsewhere)]


def test_shards_are_looked_at(tmp_path):
    result = checked(write_small(tmp_path))
    assert all(name.startswith(f"{part}/") for name, part in zip(result.images.names, result.images.parts, strict=True))
    assert set(result.images.parts) == {"train", "val", "test"}
    assert result.unreadable == {}


def test_a_folder_of_broken_images_is_refused(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(b"broken")
    with pytest.raises(MaxViTError, match=r"none of the 2 images of .* can be read: .*a.png"):
        checked(tmp_path)


# decisions


@pytest.fixture
def decisions(found, tmp_path):
    write_decisions(tmp_path / "decisions.csv", found)
    return tmp_path / "decisions.csv"


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_of_duplicates_training_loses_its_copies_and_a_person_decides_between_classes(decisions, folder):
    gone = {row["path"] for row in read(decisions) if row["keep"] == "no"}
    names = ("dog/again.jpg", "dog/7.png", "dog/broken.jpg", "cat/cropped.png")
    assert gone == {str(folder / "train" / name) for name in names}


def test_of_duplicates_in_one_part_the_largest_stays(tmp_path):
    write(tmp_path / "a" / "0.png", half(picture(0)))
    write(tmp_path / "a" / "1.png", picture(0))
    write(tmp_path / "b" / "2.png", picture(2))
    write_decisions(tmp_path / "d.csv", checked(tmp_path))
    assert [row["path"] for row in read(tmp_path / "d.csv") if row["keep"] == "no"] == [str(tmp_path / "a" / "0.png")]


def test_edited_decisions_are_kept_when_the_data_is_checked_again(decisions, found, folder):
    assert write_decisions(decisions, found) is None  # the same once more
    proposed = decisions.read_bytes()
    all_stay, none_stays = proposed.replace(b",no,", b",yes,"), proposed.replace(b",yes,", b",no,")
    for edited, name in ((all_stay, "decisions.csv.old"), (none_stays, "decisions.csv.old.2")):
        decisions.write_bytes(edited)
        assert write_decisions(decisions, found) == decisions.with_name(name)
        assert decisions.read_bytes() == proposed
    assert decisions.with_name("decisions.csv.old").read_bytes() == all_stay
    assert decisions.with_name("decisions.csv.old.2").read_bytes() == none_stays
    kept, dropped, _ = apply_decisions(decisions.with_name("decisions.csv.old"), str(folder), "classification")
    assert (kept, dropped) == (19, 0)


def test_what_stays_is_a_list_that_training_reads(decisions, folder):
    text = decisions.read_text()
    edited = str(folder / "train" / "dog" / "small_cat.png")
    decisions.write_text(text.replace(f"{edited},train,dog,yes", f"{edited},train,cat,yes"))
    kept, dropped, path = apply_decisions(decisions, str(folder), "classification")
    assert (kept, dropped, path.parent) == (15, 4, decisions.parent)
    splits = load_images(str(path))
    assert splits.test is not None
    assert (len(splits.train) + len(splits.val), len(splits.test)) == (12, 3)
    labels = {
        name: part.class_names[label]
        for part in (splits.train, splits.val)
        for name, label in zip(part.names, part.labels, strict=True)
    }
    assert labels[edited] == "cat"


def test_decisions_that_a_spreadsheet_wrote_with_semicolons_are_read(decisions, folder):
    decisions.write_text(decisions.read_text().replace(",", ";"))
    assert apply_decisions(decisions, str(folder), "classification")[:2] == (15, 4)


def test_what_no_list_can_hold_is_refused(decisions, folder):
    decisions.write_bytes(decisions.read_bytes().replace(b",cat,", b",k\xe4t,"))
    with pytest.raises(MaxViTError, match=r"k\\xe4t is a label in .*decisions\.csv that is not UTF-8"):
        apply_decisions(decisions, str(folder), "classification")


MISTAKES = {
    "keep is 'maybe': write yes or no": ("yes", "maybe"),
    "label is empty: give a class": (",cat,", ",,"),
    "has no column 'keep'": ("keep", "stays"),
    "names .*nowhere.*, which is not among the images": ("train/cat", "nowhere/cat"),
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_list_that_was_edited_wrongly_is_refused(decisions, folder, sentence):
    decisions.write_text(decisions.read_text().replace(*MISTAKES[sentence]))
    with pytest.raises(MaxViTError, match=sentence):
        apply_decisions(decisions, str(folder), "classification")
    assert not decisions.with_name("kept.csv").exists()

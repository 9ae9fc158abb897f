"""A folder of class folders, split or not; every way to get it wrong has a sentence."""

from collections import Counter

import pytest

from maxvit.data.finding import PassedOver
from maxvit.data.folder import find_parts, load_folder, read_classes, read_held_out
from maxvit.data.load import read_parts
from maxvit.errors import MaxViTError


def fill(folder, **counts):
    """Empty files do: reading a folder decodes nothing."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i:02}.png").touch()
    return folder


def test_folders_are_the_classes_in_order_of_name(tmp_path):
    found = read_classes(fill(tmp_path, dog=2, cat=3, Ant=1))
    assert found.class_names == ["Ant", "cat", "dog"]
    assert list(found.labels) == [0, 1, 1, 1, 2, 2]
    assert list(found.sources) == [tmp_path / name for name in found.names]
    assert found.names[0] == "Ant/00.png"


def test_images_deeper_down_belong_to_the_class_folder(tmp_path):
    fill(tmp_path, cat=1, dog=1)
    fill(tmp_path / "cat", tabby=2)
    found = read_classes(tmp_path)
    assert found.class_names == ["cat", "dog"]
    assert Counter(found.labels) == {0: 3, 1: 1}


def test_hidden_folders_and_loose_files_are_no_classes(tmp_path):
    fill(tmp_path, cat=1, dog=1)
    fill(tmp_path, **{".cache": 3})
    (tmp_path / "loose.png").touch()
    assert read_classes(tmp_path).class_names == ["cat", "dog"]


def test_labels_follow_the_model_s_classes_where_they_are_given(tmp_path):
    found = read_classes(fill(tmp_path, cat=1, dog=2), ["dog", "eel", "cat"])
    assert found.class_names == ["dog", "eel", "cat"]
    assert list(found.labels) == [2, 0, 0]


def test_one_folder_is_enough_for_a_model_that_knows_it(tmp_path):
    assert list(read_classes(fill(tmp_path, cat=2), ["ant", "cat"]).labels) == [1, 1]


def test_a_missing_folder_is_named(tmp_path):
    for read in (read_classes, load_folder):
        with pytest.raises(MaxViTError, match="gone does not exist: check the path"):
            read(tmp_path / "gone")


def test_a_file_in_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "photos.zip").touch()
    for read in (read_classes, load_folder):
        with pytest.raises(MaxViTError, match=r"photos\.zip is a file: give a folder .*, or a list .*; unpack it"):
            read(tmp_path / "photos.zip")


def test_an_empty_folder_holds_nothing(tmp_path):
    with pytest.raises(MaxViTError, match="it holds nothing"):
        read_classes(tmp_path)


def test_a_folder_of_loose_images_is_told_how_to_sort_them(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(MaxViTError, match=r"it holds only loose files$"):
        read_classes(tmp_path)


def test_a_list_beside_the_images_is_named_and_not_read(tmp_path):
    fill(tmp_path, train_images=2)
    (tmp_path / "train.csv").touch()
    with pytest.raises(MaxViTError, match=r"it holds the list train\.csv: give .*train\.csv to read that"):
        read_classes(tmp_path)
    images = read_classes(fill(tmp_path, test_images=1))
    assert images.passed_over == [PassedOver(tmp_path / "train.csv", "list, which is read where its path is given")]


def test_one_class_is_not_enough(tmp_path):
    with pytest.raises(MaxViTError, match="one class only, 'cat': add a second one"):
        read_classes(fill(tmp_path, cat=2))


def test_a_folder_in_a_folder_is_named(tmp_path):
    fill(tmp_path / "photos", cat=2, dog=2)
    with pytest.raises(
        MaxViTError, match=r"one class only, 'photos': add a second one, or give .*/photos, which holds"
    ):
        load_folder(tmp_path)


@pytest.mark.parametrize("content", [None, "notes.txt"])
def test_an_empty_class_is_named(tmp_path, content):
    fill(tmp_path, cat=2, dog=0)
    if content:
        (tmp_path / "dog" / content).touch()
    with pytest.raises(MaxViTError, match="dog holds no images: fill it or remove it"):
        read_classes(tmp_path)


def test_a_class_that_the_model_lacks_is_named_with_those_it_has(tmp_path):
    known = [f"class {i}" for i in range(11)]
    with pytest.raises(MaxViTError, match=r"cat is not a class of the model; its 11 classes are class 0, .*7, \.\.\."):
        read_classes(fill(tmp_path, cat=1), known)


def test_a_class_with_one_image_cannot_be_split(tmp_path):
    with pytest.raises(MaxViTError, match="class 'dog' has a single image"):
        load_folder(fill(tmp_path, cat=5, dog=1))


def test_a_plain_folder_is_split_in_proportion(tmp_path):
    splits = load_folder(fill(tmp_path, cat=20, dog=40), val_fraction=0.1, seed=3)
    assert Counter(splits.train.labels) == {0: 18, 1: 36}
    assert Counter(splits.val.labels) == {0: 2, 1: 4}
    assert not set(splits.train.names) & set(splits.val.names)
    assert splits.test is None


def test_the_split_is_a_function_of_the_seed(tmp_path):
    fill(tmp_path, cat=20, dog=40)
    assert load_folder(tmp_path, seed=3) == load_folder(tmp_path, seed=3)
    assert set(load_folder(tmp_path, seed=3).val.names) != set(load_folder(tmp_path, seed=4).val.names)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "dev", "eval", "Val", "VAL"])
@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Training", "TESTING")])
def test_a_folder_that_is_split_is_taken_as_it_is(tmp_path, train, val, test):
    fill(tmp_path / train, cat=5, dog=7)
    fill(tmp_path / val, cat=2, dog=1)
    fill(tmp_path / test, dog=3)  # a class may be missing here
    splits = load_folder(tmp_path)
    assert Counter(splits.train.labels) == {0: 5, 1: 7}
    assert Counter(splits.val.labels) == {0: 2, 1: 1}
    assert splits.test is not None
    assert Counter(splits.test.labels) == {1: 3}
    assert splits.train.class_names == splits.val.class_names == splits.test.class_names == ["cat", "dog"]


def test_without_val_a_part_of_train_is_held_out_and_test_is_untouched(tmp_path):
    fill(tmp_path / "train", cat=10, dog=20)
    fill(tmp_path / "test", cat=1, dog=1)
    splits = load_folder(tmp_path, val_fraction=0.2)
    assert (len(splits.train), len(splits.val)) == (24, 6)
    assert splits.test is not None
    assert len(splits.test) == 2


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_train_lacks_is_named(tmp_path, part):
    fill(tmp_path / "train", cat=2, dog=2)
    fill(tmp_path / part, eel=1)
    for read in (load_folder, lambda folder: read_parts(str(folder))):
        with pytest.raises(MaxViTError, match=r"eel is not a class of .*/train; its 2 classes are cat, dog"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("parts", "wanted", "number"),
    [
        (["train", "val", "test"], "test", 3),
        (["train", "val"], "val", 2),
        (["Train", "DEV"], "val", 2),
        (["train"], "all", 1),
        (["val", "test"], "test", 2),
        (["."], "all", 1),
    ],
)
def test_a_model_is_judged_by_the_part_that_training_did_not_see(tmp_path, parts, wanted, number):
    for count, part in enumerate(parts, 1):
        fill(tmp_path / part, cat=count)
    held_out = read_held_out(tmp_path, ["cat", "dog"])
    assert (held_out.part, len(held_out)) == (wanted, number)


def test_a_class_called_train_is_a_class(tmp_path):
    fill(tmp_path, car=2, plane=2, train=2)
    assert find_parts(tmp_path) == {}
    assert load_folder(tmp_path).train.class_names == ["car", "plane", "train"]


def test_an_unknown_folder_of_class_folders_beside_the_parts_is_named(tmp_path):
    fill(tmp_path / "train", cat=2, dog=2)
    fill(tmp_path / "holdout", cat=2)
    with pytest.raises(MaxViTError, match=r"holdout holds folders of images, .*: rename holdout to val or test"):
        load_folder(tmp_path)


def test_loose_images_in_a_folder_beside_the_parts_are_passed_over_and_said(tmp_path):
    fill(tmp_path / "train", cat=5, dog=5)
    fill(tmp_path, fresh=2)
    train = load_folder(tmp_path).train
    assert len(train) == 8
    assert [(p.path.name, p.why) for p in train.passed_over] == [("fresh", "next to the parts")]


def test_a_folder_without_images_beside_the_parts_does_no_harm(tmp_path):
    fill(tmp_path / "train", cat=5, dog=5)
    fill(tmp_path / "notes", old=0)
    assert len(load_folder(tmp_path).train) == 8


def test_two_folders_that_are_one_part_are_named(tmp_path):
    for part in ("train", "val", "dev"):
        fill(tmp_path / part, cat=2, dog=2)
    with pytest.raises(MaxViTError, match=r"dev and val of .* are both names of the val part: keep one"):
        load_folder(tmp_path)


def test_parts_without_one_to_learn_from_are_named(tmp_path):
    for name in ("val", "test"):
        fill(tmp_path / name, cat=1, dog=1)
    with pytest.raises(MaxViTError, match="has val and test, and no part to learn from: add a folder train"):
        load_folder(tmp_path)


def test_parts_that_hold_no_classes_are_named(tmp_path):
    with pytest.raises(MaxViTError, match=r"test and train of .* look like parts of the data, and none holds class"):
        load_folder(fill(tmp_path, train=2, test=2))


def test_a_class_is_known_in_either_unicode_form(tmp_path):
    fill(tmp_path, **{"cafe\u0301": 2, "the": 1})  # as macOS writes it
    assert read_classes(tmp_path).class_names == ["caf\u00e9", "the"]
    for known in ("caf\u00e9", "cafe\u0301"):
        assert read_classes(tmp_path, ["the", known]).labels == [1, 1, 0]


def test_one_class_in_two_unicode_forms_is_one_class(tmp_path):
    fill(tmp_path, **{"cafe\u0301": 2, "caf\u00e9": 3, "the": 1})
    assert Counter(read_classes(tmp_path).labels) == {0: 5, 1: 1}


def test_what_is_passed_over_is_kept_with_the_images(tmp_path):
    fill(tmp_path, cat=3, dog=3)
    (tmp_path / "cat" / "notes.txt").touch()
    (tmp_path / "loose.png").touch()
    passed = {(tmp_path / "cat" / "notes.txt", ".txt"), (tmp_path / "loose.png", "in no class folder")}
    splits = load_folder(tmp_path)
    assert set(read_classes(tmp_path).passed_over) == set(splits.train.passed_over) == passed


def test_an_empty_class_says_what_was_passed_over(tmp_path):
    fill(tmp_path, cat=2, dog=0)
    (tmp_path / "dog" / "1.txt").touch()
    with pytest.raises(MaxViTError, match=r"fill it or remove it; skipped: 1 \.txt \(.*dog.1\.txt\)$"):
        read_classes(tmp_path)

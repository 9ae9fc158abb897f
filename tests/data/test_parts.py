"""Every image of a data set by the parts that it has itself: none is drawn."""

import pytest

from maxvit.data.builtin import load_builtin_eval, load_digits, read_builtin_parts
from maxvit.data.load import read_parts
from maxvit.errors import MaxViTError
from small import write_images


def numbers(parts):
    return {name: (len(images), images.part) for name, images in parts.items()}


def test_a_folder_without_parts_is_one(tmp_path):
    assert numbers(read_parts(str(write_images(tmp_path / "data", 2)))) == {"all": (6, "all")}


def test_a_folder_has_the_parts_that_it_holds_and_no_other(tmp_path):
    for part, number in (("valid", 2), ("test", 1)):
        write_images(tmp_path / part, number)
    assert numbers(read_parts(str(tmp_path))) == {"val": (6, "val"), "test": (3, "test")}


def test_parts_share_the_classes_of_the_first(tmp_path):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test", 1)
    (tmp_path / "test" / "green").rename(tmp_path / "test" / "yellow")
    with pytest.raises(MaxViTError, match="yellow is not a class"):
        read_parts(str(tmp_path))


def test_a_list_has_the_parts_of_its_column(tmp_path):
    write_images(tmp_path, 1)
    rows = ["red/0.png,red,train", "blue/0.png,blue,train", "green/0.png,blue,test"]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    assert numbers(read_parts(str(tmp_path / "list.csv"))) == {"train": (2, "train"), "test": (1, "test")}


def test_digits_have_three_parts_and_formulas_none():
    splits = load_digits()
    parts = read_builtin_parts("digits")
    assert [len(images) for images in parts.values()] == [len(splits.train), len(splits.val), len(splits.test)]
    assert [images.part for images in parts.values()] == list(parts) == ["train", "val", "test"]
    assert [*read_builtin_parts("formulas:classes=2,images=3")] == ["all"]


def test_digits_are_evaluated_on_their_test_part():
    """Were it called "all", those that training held out would be looked for in it, and none found."""
    images = load_builtin_eval("digits")
    assert (images.part, len(images)) == ("test", 360)

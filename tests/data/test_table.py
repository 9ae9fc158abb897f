"""Lists of images give the labels they hold, however they are written; a row that is wrong is named."""

import sys
from collections import Counter

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from maxvit.data.dataset import LabelledImages, split
from maxvit.data.finding import MISSING, PassedOver
from maxvit.data.load import load_eval, load_images
from maxvit.data.table import load_list, read_list
from maxvit.errors import MaxViTError
from shard_samples import two_splits, write_small
from small import write_images


@pytest.fixture
def write(tmp_path):
    """A list in FOLDER/list.csv of this text, and the empty files that it names: write("path,label", "a.jpg,cat")."""

    def call(*lines, name="list.csv", images=None, encoding="utf-8"):
        for image in (line.split("," if name.endswith("csv") else "\t")[0] for line in lines[1:]):
            if image and (images is None or image in images):
                (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / image).touch()
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding=encoding)
        return tmp_path / name

    return call


def rows(count, *cells):
    """COUNT lines with a path and one of the cells in turn."""
    return [f"{i}.jpg,{cells[i % len(cells)]}" for i in range(count)]


def content(splits):
    """name: (source, label) of each part."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {
        part: {n: (s, np.array(k).tolist()) for n, s, k in zip(i.names, i.sources, i.labels, strict=True)}
        for part, i in parts.items()
        if i is not None
    }


# one class per image


def test_names_are_sorted_and_labels_follow_them(write, tmp_path):
    lines = ["b/1.jpg,dog,train", "2.jpg,Ant,train", "b/3.jpg,dog,val", "4.jpg,cat,test"]
    splits = load_list(write("path,label,split", *lines))
    assert splits.train.class_names == ["Ant", "cat", "dog"]
    assert content(splits) == {
        "train": {"b/1.jpg": (tmp_path / "b/1.jpg", 2), "2.jpg": (tmp_path / "2.jpg", 0)},
        "val": {"b/3.jpg": (tmp_path / "b/3.jpg", 2)},
        "test": {"4.jpg": (tmp_path / "4.jpg", 1)},
    }
    assert splits.train.shards is None


def test_columns_come_in_any_order_with_blanks_and_quotes(write, tmp_path):
    (tmp_path / "a, b.jpg").touch()
    (tmp_path / "c.jpg").touch()
    file = tmp_path / "x.csv"
    file.write_text(' split , label,path\ntrain,"dog, big","a, b.jpg"\n\nval, cat ,c.jpg\n')
    assert content(load_list(file)) == {
        "train": {"a, b.jpg": (tmp_path / "a, b.jpg", 1)},
        "val": {"c.jpg": (tmp_path / "c.jpg", 0)},
    }


def test_integers_are_sorted_by_value(write):
    splits = load_list(write("path,label", *rows(9, 10, 9, -1)))
    assert splits.train.class_names == ["-1", "9", "10"]


def test_an_absolute_path_is_taken_as_it_is(write, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.jpg").touch()
    file = write("path,label,split", f"{tmp_path}/elsewhere/1.jpg,a,train", "2.jpg,b,val")
    assert load_list(file).train.sources == [tmp_path / "elsewhere" / "1.jpg"]


def test_without_a_split_val_is_held_out_in_proportion_by_the_seed(write):
    file = write("path,label", *rows(60, "a", "a", "b"))
    splits = load_list(file, val_fraction=0.1, seed=3)
    assert Counter(splits.val.labels) == {0: 4, 1: 2}
    assert Counter(splits.train.labels) == {0: 36, 1: 18}
    assert splits.test is None
    assert content(load_list(file, 0.1, 3)) == content(splits)
    assert content(load_list(file, 0.1, 4)) != content(splits)


def test_without_val_rows_a_part_of_train_is_held_out_and_test_is_untouched(write):
    lines = [f"{i}.jpg,{'ab'[i % 2]},{'test' if i >= 20 else 'train'}" for i in range(30)]
    splits = load_list(write("path,label,split", *lines), 0.2)
    assert (len(splits.train), len(splits.val)) == (16, 4)
    assert list(splits.test.names) == [f"{i}.jpg" for i in range(20, 30)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_of_any_language_are_read_with_and_without_a_mark(write, encoding):
    file = write("path,label,split", "ä.jpg,猫,train", "b.jpg,été,val", encoding=encoding)
    assert load_list(file).train.class_names == ["été", "猫"]


def test_a_tsv_file_is_separated_by_tabs(write):
    file = write("path\tlabel\tsplit", "a,b.jpg\tx,y\ttrain", "c.jpg\tz\tval", name="list.tsv")
    assert load_list(file).train.class_names == ["x,y", "z"]
    assert load_list(file).train.names == ["a,b.jpg"]


# several classes and soft labels


def test_several_classes_become_zeros_and_ones(write):
    lines = ["1.jpg,dog|cat,train", "2.jpg,,train", "3.jpg, eel | dog|dog,val", "4.jpg,cat,val"]
    splits = load_list(write("path,labels,split", *lines))
    assert splits.train.class_names == ["cat", "dog", "eel"]
    for part, wanted in ((splits.train, [[1, 1, 0], [0, 0, 0]]), (splits.val, [[0, 1, 1], [1, 0, 0]])):
        assert part.labels.dtype == bool
        assert part.labels.astype(int).tolist() == wanted


def test_soft_labels_are_kept_in_the_order_of_the_sorted_names(write):
    lines = ["1.jpg,0.25,0.75,train", "2.jpg,1,0,train", "3.jpg,5e-1,0.4995,val"]
    splits = load_list(write("path,probability:dog,probability:cat,split", *lines))
    assert splits.train.class_names == ["cat", "dog"]
    assert splits.train.labels.dtype == np.float32
    assert splits.train.labels.tolist() == [[0.75, 0.25], [0, 1]]
    assert splits.val.labels.tolist() == [[np.float32(0.4995), 0.5]]


@pytest.mark.parametrize(
    ("header", "cells"), [("labels", ["a|b", "", "a"]), ("probability:a,probability:b", ["0,1", "1,0"])]
)
def test_such_lists_are_split_by_a_plain_draw(write, header, cells):
    file = write(f"path,{header}", *rows(30, *cells))
    splits = load_list(file, 0.2, 3)
    whole = {f"{i}.jpg": cells[i % len(cells)] for i in range(30)}
    assert (len(splits.train), len(splits.val)) == (24, 6)
    assert sorted([*splits.train.names, *splits.val.names]) == sorted(whole)
    by_cell = {}
    for part in (splits.train, splits.val):
        for name, label in zip(part.names, part.labels.tolist(), strict=True):
            by_cell.setdefault(whole[name], []).append(label)
    assert all(len(set(map(tuple, labels))) == 1 for labels in by_cell.values())  # labels stay with their images
    assert content(load_list(file, 0.2, 3)) == content(splits)
    assert content(load_list(file, 0.2, 4)) != content(splits)


@pytest.mark.parametrize("held_out", [0.001, 0.999, 1, 100])
def test_a_plain_draw_leaves_an_image_on_both_sides(held_out):
    images = LabelledImages(["a", "b", "c"], np.eye(3, dtype=np.float32), ["x", "y", "z"], ["a", "b", "c"])
    kept, out = split(images, held_out, 0)
    assert sorted([*kept.names, *out.names]) == ["a", "b", "c"]
    assert len(kept)
    assert len(out)
    with pytest.raises(MaxViTError, match="there is a single image"):
        split(images.subset([0]), held_out, 0)


# Parquet


@pytest.mark.parametrize(
    "columns",
    [
        {"label": ["b", "a", "b"]},
        {"label": [10, 9, 10]},
        {"labels": ["a|b", None, "b"]},
        {"probability:a": [0.1, 0.5, 1.0], "probability:b": [0.9, 0.5, 0.0]},
    ],
)
def test_a_parquet_file_is_read_as_the_same_csv_file(tmp_path, columns):
    columns = {"path": ["1.jpg", "2.jpg", "3.jpg"], **columns, "split": ["train", "train", "val"]}
    for name in columns["path"]:
        (tmp_path / name).touch()
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "list.parquet")
    lines = [
        ",".join(columns),
        *(",".join("" if c is None else str(c) for c in row) for row in zip(*columns.values(), strict=True)),
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    first, second = load_list(tmp_path / "list.parquet"), load_list(tmp_path / "list.csv")
    assert content(first) == content(second)
    assert first.train.class_names == second.train.class_names


def test_integers_that_a_gap_made_floats_are_integers(tmp_path):
    (tmp_path / "1.jpg").touch()
    (tmp_path / "2.jpg").touch()
    table = pyarrow.table({"path": ["1.jpg", "2.jpg"], "label": [3.0, 12.0], "split": ["train", "val"]})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    assert load_list(tmp_path / "list.parquet").train.class_names == ["3", "12"]


def test_a_row_of_a_parquet_file_is_counted_from_one(tmp_path):
    (tmp_path / "1.jpg").touch()
    table = pyarrow.table({"path": ["1.jpg", "2.jpg"], "label": ["a", None]})
    pyarrow.parquet.write_table(table, tmp_path / "list.parquet")
    (tmp_path / "2.jpg").touch()
    with pytest.raises(MaxViTError, match=r"^row 2 of .*list\.parquet: label is empty"):
        load_list(tmp_path / "list.parquet")


@pytest.mark.parametrize("damage", ["text", "half"])
def test_a_damaged_parquet_file_is_named(tmp_path, damage):
    file = tmp_path / "list.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"path": ["1.jpg"], "label": ["a"]}), file)
    file.write_bytes(b"path,label\n" if damage == "text" else file.read_bytes()[:-40])
    with pytest.raises(MaxViTError, match=r"list\.parquet is not a Parquet file that can be read: .+"):
        load_list(file)


def test_without_pyarrow_the_user_is_told_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "list.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        MaxViTError, match=r"a Parquet file, needs pyarrow, which is not installed: pip install 'maxvit\[lists\]'"
    ):
        load_list(tmp_path / "list.parquet")


# what is wrong with a list


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["label,split", ",train"], "list.csv has the columns 'label', 'split', and none names images in "),
        (["path,split", "1.jpg,train"], "list.csv has the columns 'path', 'split', and none beside the image's for"),
        (["path,label,labels", "1.jpg,a,a"], "list.csv has both label and labels among its columns"),
        (["path,label,probability:a", "1.jpg,a,1"], "list.csv has both label and probability among its columns"),
        (["path,label,label", "1.jpg,a,b"], "list.csv has two columns 'label': remove or rename one"),
        (["path,label"], "list.csv is an empty list: the usual columns are path"),
        ([], "list.csv is an empty list"),
        (["path,label", "1.jpg,a", "", "2.jpg"], "line 4 of {} has 1 cells, and the first line 2: put cells"),
        (["path,label", "1.jpg,a", "2.jpg,a,b"], "line 3 of {} has 3 cells, and the first line 2"),
        (["path,label", "1.jpg,a", ",b"], "line 3 of {}: path is empty"),
        (["path,label", "1.jpg,a", "2.jpg, "], "line 3 of {}: label is empty"),
        (["path,label", "1.jpg,a", "2.jpg,a"], "list.csv has one class only, 'a': add images of a second one"),
        (["path,label", "1.jpg,a", "2.jpg,b", "./1.jpg,a"], "line 4 of {}: ./1.jpg was on line"),
        (["path,label", '1.jpg,"a'], "line 2 of {} cannot be read: unexpected end of data"),
        (["path,label,split", "1.jpg,a,train", "2.jpg,b,fold"], "line 3 of {}: split is 'fold': give train, va"),
        (["path,label,split", "1.jpg,a,val", "2.jpg,b,test"], "no row of {} has the split train: give some"),
        (["path,label", "1.jpg,a", "2.jpg,b"], "class 'a' has a single image"),
        (["path,labels", "1.jpg,a||b", "2.jpg,b"], "line 2 of {}: labels 'a||b' hold an empty class"),
        (["path,labels", "1.jpg,", "2.jpg,"], "no image of {} has a class"),
        (["path,probability:a", "1.jpg,1"], "must have a column probability:CLASS for each"),
        (["path,probability:,probability:a", "1.jpg,1,0"], "must have a column probability:CLASS for each"),
        (["path,probability:a,probability:b", "1.jpg,1,x"], "line 2 of {}: the probability of b is 'x', which"),
        (["path,probability:a,probability:b", "1.jpg,1,"], "line 2 of {}: the probability of b is '', which"),
        (["path,probability:a,probability:b", "1.jpg,1.5,-0.5"], "line 2 of {}: the probability of a is 1.5"),
        (["path,probability:a,probability:b", "1.jpg,nan,1"], "line 2 of {}: the probability of a is 'nan', which is"),
        (["path,probability:a,probability:b", "1.jpg,1,0", "2.jpg,.5,.498"], "line 3 of {}: the probabilities sum "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(write, lines, says):
    file = write(*lines)
    with pytest.raises(MaxViTError) as error:
        load_list(file)
    assert says.format(file) in str(error.value)


def test_images_that_do_not_exist_are_left_out_and_counted(write, tmp_path):
    file = write("path,label", *rows(9, "a", "b"), "gone.jpg,c", images=[f"{i}.jpg" for i in range(9)])
    splits = load_list(file)
    assert len(splits.train) + len(splits.val) == 9
    assert splits.train.class_names == ["a", "b", "c"]  # what the list says does not hang on the disk
    assert splits.train.passed_over == [PassedOver(tmp_path / "gone.jpg", MISSING)]


def test_names_as_windows_writes_them_are_told_how_to_be_written(write):
    with pytest.raises(MaxViTError, match=r"or correct the names, with / in place of \\$"):
        load_list(write("path,label", r"a\1.jpg,a", r"a\2.jpg,b", images=[]))


def test_a_list_of_which_no_image_exists_is_refused(write, tmp_path):
    file = write("path,label", "1.jpg,a", "2.jpg,b", images=[])
    with pytest.raises(
        MaxViTError, match=rf"none of the 2 images of {file} exists: {tmp_path} does not hold 1\.jpg, 2"
    ):
        load_list(file)


def test_names_in_either_unicode_form_are_the_same(write, tmp_path):
    nfc, nfd = "caf\u00e9", "cafe\u0301"
    file = write("path,label,split", f"{nfd}.jpg,{nfc},train", f"2.jpg,{nfd},train", "3.jpg,tea,val")
    assert load_list(file).train.labels == [0, 0]
    assert load_list(file).train.class_names == [nfc, "tea"]
    assert load_eval(str(file), ["tea", nfd]).labels == [0]
    file = write("path,label", f"{nfc}.jpg,a", "2.jpg,b", images=["2.jpg"])  # it lies there as macOS wrote it
    assert read_list(file)["all"].sources[0] == tmp_path / f"{nfd}.jpg"


def test_a_text_that_is_not_utf_8_is_named(write):
    with pytest.raises(MaxViTError, match=r"list\.csv is not UTF-8 text \(byte 12\): save it as UTF-8"):
        load_list(write("path,label", "1é.jpg,été", encoding="latin-1"))
    with pytest.raises(MaxViTError, match=r"list\.csv is not UTF-8 text \(byte 0\)"):
        load_list(write("path,label", "1.jpg,a", encoding="utf-16"))


def test_a_list_that_is_missing_a_folder_or_of_another_kind_is_named(tmp_path):
    with pytest.raises(MaxViTError, match=r"gone\.csv does not exist: give a list of images"):
        load_list(tmp_path / "gone.csv")
    with pytest.raises(MaxViTError, match="is a folder: give a list"):
        load_list(tmp_path)
    (tmp_path / "list.xlsx").touch()
    with pytest.raises(
        MaxViTError, match=r"list\.xlsx ends in '\.xlsx', and a list ends in one of \.csv, \.tsv, \.parquet"
    ):
        load_list(tmp_path / "list.xlsx")


# any kind


def test_any_kind_of_data_set_is_known_by_its_path(write, tmp_path):
    shards = write_small(tmp_path)
    for path in (tmp_path / "folder", shards, shards.as_uri()):
        splits = load_images(str(path))
        assert (len(splits.train), len(splits.val), len(splits.test)) == (27, 8, 5)
    (two_splits(tmp_path / "foreign") / "list.csv").touch()
    assert len(load_images(str(tmp_path / "foreign")).train) == 2
    assert len(load_images(str(write("path,label", *rows(10, "a", "b"), name="MY.list.csv")), 0.4).val) == 4


def test_tar_files_beside_class_folders_are_leftovers_and_the_fraction_and_seed_are_used(tmp_path):
    folder = two_splits(write_images(tmp_path / "images"))
    (first, again, other) = (load_images(str(folder), 0.5, seed) for seed in (1, 1, 2))
    assert len(first.val) == 12
    assert first == again
    assert first.val.names != other.val.names


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "gone does not exist: check the path"),
        ("gone.csv", "gone.csv does not exist: give a list"),
        ("notes.txt", "notes.txt is a file: give a folder that holds a folder of images for each class"),
        ("empty", "empty must hold a folder of images for each class"),
        ("half", "half is unfinished: call maxvit shard again"),
        ("damaged", "index.json is damaged"),
    ],
)
def test_a_path_that_is_none_of_them_is_named(tmp_path, name, says):
    for folder in ("empty", "half", "damaged"):
        (tmp_path / folder).mkdir()
    for file in ("notes.txt", "half/unfinished", "damaged/index.json"):
        (tmp_path / file).touch()
    with pytest.raises(MaxViTError, match=says):
        load_images(str(tmp_path / name))


def test_what_is_held_out_of_any_kind_has_the_model_s_numbers(write):
    listed = write("path,label,split", "a.png,dog,train", "b.png,cat,val", "c.png,dog,test", "d.png,cat,test")
    held = load_eval(str(listed), ["bird", "cat", "dog"])
    assert (list(held.names), list(held.labels)) == (["c.png", "d.png"], [2, 1])
    assert held.class_names == ["bird", "cat", "dog"]
    with pytest.raises(MaxViTError, match=r"'cat' is not a class of the model; its 1 classes are dog"):
        load_eval(str(listed), ["dog"])
    everything = load_eval(str(write("path,labels", "a.png,dog|cat", "b.png,")), ["bird", "cat", "dog"])
    assert np.asarray(everything.labels).tolist() == [[0, 1, 1], [0, 0, 0]]

"""YOLO's format: what data.yaml may say, and what is wrong in a file of labels is named with its line."""

import numpy as np
import pytest

from coco_samples import IMAGES, write_images
from detection_layouts import CLASSES, EMPTY, FIRST, LAST, PARTS, SECOND, write_yolo, yolo_rows
from maxvit.data.finding import PassedOver
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.data import load_eval, load_splits, recognizes

ROWS = "labels/train/000000000011.txt"


def train_part(folder, with_masks=False):
    return load_splits(folder, 0.2, 0, with_masks).train


def refusal(folder, with_masks=False):
    with pytest.raises(MaxViTError) as caught:
        load_splits(folder, 0.2, 0, with_masks)
    return str(caught.value)


def describe(folder, text):
    (folder / "data.yaml").write_text(text)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        "names: {0: red, 1: blue}\ntrain: images/train\nval: images/val\ntest: images/test",
        "path: /not/here\nnames: [red, blue]\ntrain: images/train\nvalid: images/val\ntest: images/test",
        "names: [red, blue]\ntrain: ../images/train\nval: ../images/val\ntest: ../images/test",
        "path: .\nnc: 2\nnames:\n- red\n- blue\ntrain: [images/train]\nval: images/val\ntest: images/test",
    ],
)
def test_data_yaml_may_be_written_in_several_ways(tmp_path, text):
    splits = load_splits(describe(write_yolo(tmp_path), text), 0.2, 0, with_masks=False)
    assert splits.train.class_names == CLASSES
    assert [list(part.names) for part in (splits.train, splits.val, splits.test)] == list(PARTS.values())


def test_path_of_data_yaml_is_where_the_images_are(tmp_path):
    write_yolo(tmp_path / "elsewhere")
    write_images(tmp_path / "images/test", list(IMAGES))  # it comes first
    text = (tmp_path / "elsewhere/data.yaml").read_text()
    (tmp_path / "data.yaml").write_text(f"path: elsewhere\n{text}")
    assert list(load_eval(tmp_path, CLASSES, False).names) == PARTS["test"]


def test_the_last_folder_called_images_is_that_of_the_images(tmp_path):
    part = train_part(write_yolo(tmp_path / "images/set"))
    assert {o.name: len(o.labels) for o in part.labels} == {FIRST: 2, EMPTY: 0}


def test_a_part_may_be_a_list_of_images(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "some.txt").write_text(f"./images/train/{FIRST}\n\nimages/val/{SECOND}\nimages/val/gone.png\n")
    part = train_part(describe(tmp_path, "names: [red, blue]\ntrain: some.txt\nval: images/val"))
    assert [source.name for source in part.sources] == [FIRST, SECOND]
    assert part.passed_over == [PassedOver(tmp_path / "images/val/gone.png", "missing")]


def test_images_of_one_name_in_two_folders_have_names_of_their_own(tmp_path):
    write_yolo(tmp_path)
    write_images(tmp_path / "more/images", [FIRST])
    part = train_part(describe(tmp_path, "names: [red, blue]\ntrain: [images/train, more/images]\nval: images/val"))
    assert sorted(part.names) == [f"images/train/{FIRST}", f"images/train/{EMPTY}", f"more/images/{FIRST}"]


def test_without_data_yaml_classes_are_in_a_file_of_names(tmp_path):
    write_yolo(tmp_path).joinpath("data.yaml").rename(tmp_path / "classes.txt")
    (tmp_path / "classes.txt").write_text("red\nblue\n\n")
    splits = load_splits(tmp_path, 0.2, 0, with_masks=False)
    assert splits.train.class_names == CLASSES
    assert [list(part.names) for part in (splits.train, splits.val, splits.test)] == list(PARTS.values())


def test_without_parts_all_images_are_read(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "labels").mkdir()
    for name in IMAGES:
        (tmp_path / "labels" / name).with_suffix(".txt").write_text(yolo_rows(name))
    (tmp_path / "classes.txt").write_text("red\nblue\n")
    assert list(load_eval(tmp_path, CLASSES, False).names) == list(IMAGES)


def test_an_image_without_labels_is_a_background_and_counted(tmp_path, caplog):
    part = train_part(write_yolo(tmp_path))
    assert {o.name: len(o.labels) for o in part.labels} == {FIRST: 2, EMPTY: 0}
    assert "1 images have no file of labels" in caplog.text


def test_labels_without_an_image_and_damaged_images_are_left_out_and_counted(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels/train/other.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "labels/train/classes.txt").write_text("red\nblue\n")
    (tmp_path / f"images/train/{EMPTY}").write_text("no image")
    part = train_part(tmp_path)
    assert list(part.names) == [FIRST]
    assert sorted(part.passed_over) == [
        PassedOver(tmp_path / f"images/train/{EMPTY}", "damaged"),
        PassedOver(tmp_path / "labels/train/other.txt", "without an image"),
    ]


def test_a_box_that_reaches_beyond_its_image_is_cut_and_counted(tmp_path, caplog):
    write_yolo(tmp_path)
    (tmp_path / ROWS).write_text("0 0.0 0.5 0.2 0.5\n1 0.5 0.5 0 0.1\n")
    (objects,) = (o for o in train_part(tmp_path).labels if o.name == FIRST)
    height, width = IMAGES[FIRST][0]
    np.testing.assert_allclose(objects.boxes, [[0, 0.25 * height, 0.1 * width, 0.75 * height]], rtol=1e-6)
    assert "1 objects reach beyond their image" in caplog.text
    assert "1 objects are left out: they have no area" in caplog.text


def test_classes_are_those_of_the_network_by_name(tmp_path):
    write_yolo(tmp_path)
    assert load_eval(tmp_path, ["green", "blue", "red"], False).labels[0].labels.tolist() == [2]
    with pytest.raises(MaxViTError, match="'blue' is not a class of the model"):
        load_eval(tmp_path, ["red"], False)


BROKEN = {
    "class beyond the names": ("0 .5 .5 .1 .1\n2 .5 .5 .1 .1", "line 2 has the class 2, and the 2 names are 0 to 1"),
    "class below 0": ("-1 .5 .5 .1 .1", "line 1 has the class -1; it takes 0, 1"),
    "class a fraction": ("0.5 .5 .5 .1 .1", "line 1 has the class 0.5; it takes 0, 1"),
    "a number missing": ("\n0 .5 .5 .1", "line 2 has 4 numbers; a row takes class"),
    "a score": ("0 .5 .5 .1 .1 .9", "line 1 has 6 numbers; a row takes class"),
    "half a point": ("0 .1 .1 .2 .1 .2 .2 .3", "line 1 has 8 numbers"),
    "a word": ("red .5 .5 .1 .1", "line 1 is 'red .5 .5 .1 .1'; a row takes numbers"),
    "below 0": ("0 .5 .5 .1 .1\n0 -.5 .5 .1 .1", "line 2 has -0.5; numbers are shares"),
    "pixels": ("0 20 15 7 9", "line 1 has 20; numbers are shares"),
    "not a number": ("0 nan .5 .1 .1", "line 1 has nan; numbers are shares"),
    "outside": ("0 1 .5 -.0005 .1\n1 1.0005 .5 .0001 .1", "line 2: the box"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_in_a_row_is_named_with_file_and_line(tmp_path, kind):
    text, words = BROKEN[kind]
    (write_yolo(tmp_path) / ROWS).write_text(text)
    assert f"{tmp_path / ROWS}, {words}" in refusal(tmp_path)


def test_a_box_has_no_mask(tmp_path):
    assert "line 1 is a box without a polygon, and this detector learns masks" in refusal(write_yolo(tmp_path), True)


DESCRIPTIONS = {
    "train: images/train": "data.yaml has no names",
    "names: [red, red]\ntrain: images/train": "the classes 0 and 1 are both called 'red'",
    "names: {1: red, 2: blue}\ntrain: images/train": "names has the numbers [1, 2]; they are 0, 1",
    "names: [yes, blue]\ntrain: images/train": "class 0 is called True; a name is text: put it in quotes",
    "names: [red, blue]": "names no images",
    "names: [red, blue]\nval: images/val": "has the parts val, and none to learn from",
    "names: [red, blue]\ntrain: images/training": "train is 'images/training', and ",
    "names: [red, blue]\ntrain: images/train\nval: images/val\nvalid: images/val": "val and valid, both names",
    "names: [red, blue]\ntrain: data.yaml": "data.yaml is a file; give a folder of images, or a .txt file",
    "names: [red, blue]\nkpt_shape: [17, 3]\ntrain: images/train": "rows with keypoints are not read",
    "names: [red": "data.yaml is not YAML",
    "- red": "data.yaml holds a list",
}


@pytest.mark.parametrize("text", DESCRIPTIONS)
def test_what_is_wrong_in_data_yaml_is_named(tmp_path, text):
    assert DESCRIPTIONS[text] in refusal(describe(write_yolo(tmp_path), text) / "data.yaml")


def test_a_data_yaml_of_another_program_is_not_yolo_s(tmp_path):
    assert recognizes(describe(tmp_path, "names: [red, blue]\ntrain: images"))
    assert not recognizes(describe(tmp_path, "version: 2\nstages: [train]\n"))


def test_images_without_any_labels_are_told_where_they_belong(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "annotations")
    assert f"takes {tmp_path / 'labels/train' / FIRST}".replace(".png", ".txt") in refusal(tmp_path)


def test_two_descriptions_are_refused_and_the_file_chooses(tmp_path):
    write_yolo(tmp_path)
    (tmp_path / "dataset.yaml").write_text(f"names: [red, blue]\ntrain: images/train/{LAST}")
    assert "data.yaml and dataset.yaml: keep one of them, or give its path" in refusal(tmp_path)
    assert recognizes(tmp_path / "data.yaml")
    assert list(load_eval(tmp_path / "data.yaml", CLASSES, False).names) == PARTS["test"]

"""Formats with a file for each image: what is wrong in one is named, and what is left out is counted."""

import json

import pytest

from coco_samples import IMAGES, write_images
from detection_layouts import (
    CLASSES,
    EMPTY,
    FIRST,
    LAST,
    SECOND,
    labelme,
    voc_xml,
    write_beside,
    write_labelme,
    write_voc,
)
from maxvit.data.finding import PassedOver
from maxvit.errors import MaxViTError
from maxvit.tasks import refuse_other_tasks
from maxvit.tasks.classification import Classification
from maxvit.tasks.detection.data import load_eval, load_splits
from small import write_images as write_classes

XML = "Annotations/000000000011.xml"
JSON = "000000000011.json"


def refusal(folder, with_masks=False):
    with pytest.raises(MaxViTError) as caught:
        load_splits(folder, 0.25, 0, with_masks)
    return str(caught.value)


def of_image(images, name):
    return next(objects for objects in images.labels if objects.name == name)


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


# VOC


def test_classes_are_all_that_are_found_in_any_part_sorted(tmp_path):
    write_voc(tmp_path)
    change(tmp_path / "Annotations/000000000014.xml", "blue", "amber")
    splits = load_splits(tmp_path, 0.2, 0, with_masks=False)
    assert splits.train.class_names == splits.test.class_names == ["amber", "blue", "red"]
    assert of_image(splits.test, LAST).labels.tolist() == [1]


def test_without_lists_all_images_are_read(tmp_path):
    write_voc(tmp_path)
    for part in ("train", "val", "test"):
        (tmp_path / f"ImageSets/Main/{part}.txt").unlink()
    images = load_eval(tmp_path, CLASSES, False)
    assert (images.part, list(images.names)) == ("all", list(IMAGES))


def test_images_and_annotations_may_be_in_folders_below(tmp_path):
    write_voc(tmp_path)
    for name, ending in (("JPEGImages", ".png"), ("Annotations", ".xml")):
        (tmp_path / name / "a").mkdir()
        (tmp_path / f"{name}/000000000011{ending}").rename(tmp_path / f"{name}/a/000000000011{ending}")
    (tmp_path / "ImageSets/Main/train.txt").write_text("a/000000000011\n")
    (objects,) = load_splits(tmp_path, 0.2, 0, with_masks=False).train.labels
    assert (objects.name, len(objects.labels)) == (f"a/{FIRST}", 2)


@pytest.mark.parametrize(("name", "part"), [("default", "all"), ("trainval", "all")])
def test_a_list_of_all_images_is_read(tmp_path, name, part):
    write_voc(tmp_path)
    for other in ("val", "test"):
        (tmp_path / f"ImageSets/Main/{other}.txt").unlink()
    (tmp_path / "ImageSets/Main/train.txt").rename(tmp_path / f"ImageSets/Main/{name}.txt")
    images = load_eval(tmp_path, CLASSES, False)
    assert (images.part, list(images.names)) == (part, [FIRST, EMPTY])


def test_lists_have_the_usual_names_of_parts_and_each_part_one(tmp_path):
    write_voc(tmp_path)
    for part, name in (("train", "Train"), ("val", "Validation")):
        (tmp_path / f"ImageSets/Main/{part}.txt").rename(tmp_path / f"ImageSets/Main/{name}.txt")
    splits = load_splits(tmp_path, 0.2, 0, with_masks=False)
    assert (list(splits.train.names), list(splits.val.names)) == ([FIRST, EMPTY], [SECOND])
    (tmp_path / "ImageSets/Main/valid.txt").touch()
    assert "Validation.txt and valid.txt both list the val part" in refusal(tmp_path)


def test_a_difficult_object_is_compared_and_not_learned(tmp_path):
    write_voc(tmp_path)
    change(tmp_path / XML, "<difficult>0", "<difficult>1")
    objects = of_image(load_splits(tmp_path, 0.2, 0, False).train, FIRST)
    assert objects.crowd.tolist() == [True, False]
    assert len(objects.to_learn()["labels"]) == 1


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_a_file_does_not_say_is_that_of_the_image(tmp_path, size):
    write_voc(tmp_path)
    change(tmp_path / XML, "<size><width>61</width><height>37</height><depth>3</depth></size>", size)
    assert of_image(load_splits(tmp_path, 0.2, 0, False).train, FIRST).size == (37, 61)


def test_an_image_that_is_missing_and_one_without_annotations_are_counted(tmp_path, caplog):
    write_voc(tmp_path)
    (tmp_path / f"JPEGImages/{EMPTY}").unlink()
    (tmp_path / "Annotations/000000000012.xml").unlink()
    splits = load_splits(tmp_path, 0.2, 0, with_masks=False)
    assert list(splits.train.passed_over) == [PassedOver(tmp_path / "JPEGImages/000000000013", "missing")]
    assert len(splits.val.labels[0].labels) == 0
    assert "1 images have no annotations" in caplog.text


@pytest.mark.parametrize(("corner", "beyond"), [("xmax>53", "xmax>75"), ("ymax>32", "ymax>50")])
def test_a_box_that_reaches_beyond_its_image_is_cut_and_counted(tmp_path, caplog, corner, beyond):
    write_voc(tmp_path)
    change(tmp_path / XML, corner, beyond)
    box = of_image(load_splits(tmp_path, 0.2, 0, False).train, FIRST).boxes[1].tolist()
    assert box == ([30, 15, 61, 32] if corner.startswith("x") else [30, 15, 53, 37])
    assert "1 objects reach beyond their image and are cut" in caplog.text


VOC_BROKEN = {
    "outside": (("<xmin>6<", "<xmin>66<"), ("<xmax>25<", "<xmax>75<"), "line 4: the box 65, 3, 75, 14"),
    "no number": (("<xmin>31<", "<xmin>a<"), "line 9: 'red' has a bndbox of xmin 'a', ymin '16'"),
    "infinite": (("<xmin>31<", "<xmin>inf<"), "line 9: 'red' has a bndbox of xmin 'inf'"),
    "a corner missing": (("<xmin>31</xmin>", ""), "line 9: 'red' has a bndbox of xmin None"),
    "no name": (("<name>red</name>", ""), "line 9: an object has no name"),
    "difficult": (("<difficult>0", "<difficult>2"), "line 4: 'blue' has difficult '2'; it takes 0 or 1"),
    "not XML": (("</object>", ""), " is not XML: mismatched tag: line"),
    "another root": (("<annotation>", "<a>"), ("</annotation>", "</a>"), " holds <a>; VOC's format is <annotation>"),
}


@pytest.mark.parametrize("kind", VOC_BROKEN)
def test_what_is_wrong_in_a_file_of_xml_is_named_with_its_line(tmp_path, kind):
    write_voc(tmp_path)
    *changes, words = VOC_BROKEN[kind]
    for old, new in changes:
        change(tmp_path / XML, old, new)
    assert f"{tmp_path / XML}{'' if words.startswith(' ') else ', '}{words}" in refusal(tmp_path)


def test_voc_has_boxes_alone(tmp_path):
    assert "line 4 is a box without a polygon, and this detector learns masks" in refusal(write_voc(tmp_path), True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "train.txt names no image"),
        ("000000000011\n000000000011\n", "train.txt, line 2 names '000000000011', as line 1 does"),
    ],
)
def test_a_list_that_cannot_be_used_is_named(tmp_path, text, words):
    (write_voc(tmp_path) / "ImageSets/Main/train.txt").write_text(text)
    assert words in refusal(tmp_path)


def test_annotations_without_images_are_refused(tmp_path):
    write_voc(tmp_path).joinpath("JPEGImages").rename(tmp_path / "pictures")
    assert f"put them into {tmp_path / 'JPEGImages'}" in refusal(tmp_path)


# labelme


def describe(folder, **changes):
    """The first object of the first image is changed."""
    data = labelme(FIRST)
    data["shapes"][0] |= changes
    (write_labelme(folder) / JSON).write_text(json.dumps(data))
    return folder


def test_shapes_of_a_group_are_one_object(tmp_path):
    write_labelme(tmp_path)
    data = labelme(FIRST, "polygon")
    square = [[50, 30], [60, 30], [60, 36], [50, 36]]
    data["shapes"][0]["group_id"] = 7
    data["shapes"].append({"label": "blue", "points": square, "group_id": 7})
    data["shapes"].append({"label": "red", "points": square, "group_id": 7})
    (tmp_path / JSON).write_text(json.dumps(data))
    objects = of_image(load_eval(tmp_path, CLASSES, True), FIRST)
    assert objects.labels.tolist() == [2, 1, 1]
    assert objects.boxes[0].tolist() == [5, 3, 60, 36]
    assert objects.areas[0] == 20 * 11 + 10 * 6


def test_annotations_without_an_image_and_images_without_annotations_are_counted(tmp_path, caplog):
    write_labelme(tmp_path)
    (tmp_path / SECOND).unlink()
    images = load_eval(tmp_path, CLASSES, False)
    assert list(images.names) == [FIRST, EMPTY, LAST]
    assert images.passed_over == [PassedOver(tmp_path / "000000000012", "missing")]
    assert "1 images have no annotations" in caplog.text


LABELME_BROKEN = {
    "a circle": ({"shape_type": "circle"}, "shapes[0] is a circle; rectangles and polygons are read"),
    "one point": ({"points": [[1, 2]]}, "shapes[0] has points [[1, 2]]; a rectangle takes at least 2 points"),
    "two points": ({"shape_type": "polygon"}, "a polygon takes at least 3 points"),
    "a point of three": ({"points": [[1, 2], [3, 4, 5]]}, "a rectangle takes at least 2 points [x, y]"),
    "a word": ({"points": [[1, 2], [3, "4"]]}, "a rectangle takes at least 2 points [x, y]"),
    "no label": ({"label": None}, "shapes[0] has no label"),
    "outside": (
        {"points": [[70, 3], [80, 9]]},
        "shapes[0]: the box 70, 3, 80, 9 (left, top, right, bottom) is outside",
    ),
}


@pytest.mark.parametrize("kind", LABELME_BROKEN)
def test_what_is_wrong_in_a_shape_is_named(tmp_path, kind):
    changes, words = LABELME_BROKEN[kind]
    message = refusal(describe(tmp_path, **changes))
    assert str(tmp_path / JSON) in message
    assert words in message


@pytest.mark.parametrize(("text", "words"), [("[", "is not JSON"), ("[]", 'has no list "shapes"')])
def test_a_file_that_is_not_labelme_s_is_named(tmp_path, text, words):
    (write_labelme(tmp_path) / JSON).write_text(text)
    assert f"{tmp_path / JSON} {words}" in refusal(tmp_path)


# both


def test_two_images_with_the_same_annotations_are_refused(tmp_path):
    write_labelme(tmp_path)
    (tmp_path / FIRST).with_suffix(".jpg").write_bytes((tmp_path / FIRST).read_bytes())
    assert "000000000011.jpg and 000000000011.png would have the same annotations" in refusal(tmp_path)


def test_two_folders_that_are_the_same_part_are_refused(tmp_path):
    write_labelme(tmp_path, parts={"train": [FIRST, LAST], "val": [SECOND], "valid": [SECOND]})
    assert "val and valid of" in refusal(tmp_path)


def test_files_of_xml_or_json_next_to_class_folders_are_no_annotations(tmp_path):
    write_classes(tmp_path, number=1)
    (tmp_path / "notes.xml").write_text("<notes/>")
    (tmp_path / "notes.json").write_text('{"shapes": 3}')
    refuse_other_tasks(tmp_path, Classification)


def test_a_damaged_image_whose_size_no_file_says_is_left_out_and_counted(tmp_path):
    write_beside(tmp_path, ".xml", voc_xml)
    write_images(tmp_path, [EMPTY])
    (tmp_path / EMPTY).write_text("no image")
    images = load_eval(tmp_path, CLASSES, False)
    assert list(images.names) == [FIRST, SECOND, LAST]
    assert images.passed_over == [PassedOver(tmp_path / EMPTY, "damaged")]

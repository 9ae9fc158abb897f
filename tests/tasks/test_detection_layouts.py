"""Each format gives the objects that COCO's gives of the same images, in the parts that it names."""

import json

import numpy as np
import pytest

from coco_samples import IMAGES, describe, write_coco, write_images
from detection_layouts import (
    CLASSES,
    FIRST,
    PARTS,
    voc_xml,
    write_beside,
    write_cvat,
    write_label_studio,
    write_labelme,
    write_roboflow,
    write_voc,
    write_yolo,
)
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.coco import read_coco
from maxvit.tasks.detection.data import load_eval, load_splits

DIVIDED = {
    "yolo": write_yolo,
    "yolo polygons": lambda folder: write_yolo(folder, polygons=True),
    "roboflow yolo": lambda folder: write_yolo(folder, True, "{part}/images", "{part}/labels"),
    "roboflow coco": write_roboflow,
    "voc": write_voc,
    "roboflow voc": lambda folder: write_beside(folder, ".xml", voc_xml, PARTS),
    "labelme in parts": lambda folder: write_labelme(folder, parts=PARTS),
}
WHOLE = {
    "cvat": write_cvat,
    "label studio": write_label_studio,
    "labelimg": lambda folder: write_beside(folder, ".xml", voc_xml),
    "labelme": write_labelme,
    "labelme polygons": lambda folder: write_labelme(folder, "polygon"),
}
WITH_MASKS = [name for name in (*DIVIDED, *WHOLE) if name not in ("yolo", "voc", "roboflow voc", "labelimg")]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The objects of each image by its name."""
    folder = write_coco(tmp_path_factory.mktemp("truth"))
    images = read_coco(folder / "annotations.json", [folder / "images"], True)
    return {source.name: objects for source, objects in zip(images.sources, images.labels, strict=True)}


def all_parts(splits):
    return {name: part for name in ("train", "val", "test") if (part := getattr(splits, name)) is not None}


@pytest.mark.parametrize("kind", DIVIDED)
def test_a_divided_data_set_keeps_its_parts(tmp_path, kind):
    splits = load_splits(DIVIDED[kind](tmp_path), 0.2, 0, with_masks=False)
    assert {name: sorted(s.name for s in part.sources) for name, part in all_parts(splits).items()} == PARTS
    assert load_eval(tmp_path, CLASSES, False).part == "test"


@pytest.mark.parametrize("kind", WHOLE)
def test_of_a_data_set_without_parts_a_share_is_held_out(tmp_path, kind):
    splits = load_splits(WHOLE[kind](tmp_path), 0.25, 0, with_masks=False)
    assert (len(splits.train), len(splits.val), splits.test) == (3, 1, None)
    assert load_eval(tmp_path, CLASSES, False).part == "all"


@pytest.mark.parametrize("kind", [*DIVIDED, *WHOLE])
def test_boxes_and_classes_are_those_of_the_same_images_in_coco_s_format(tmp_path, truth, kind):
    splits = load_splits((DIVIDED | WHOLE)[kind](tmp_path), 0.25, 0, with_masks=False)
    for part in all_parts(splits).values():
        assert sorted(part.class_names) == sorted(CLASSES)
        for source, objects in zip(part.sources, part.labels, strict=True):
            expected = truth[source.name]
            assert objects.size == expected.size
            assert [part.class_names[i - 1] for i in objects.labels] == [CLASSES[i - 1] for i in expected.labels]
            np.testing.assert_allclose(objects.boxes, expected.boxes, atol=1e-4)


@pytest.mark.parametrize("kind", WITH_MASKS)
def test_masks_are_those_of_the_same_images_in_coco_s_format(tmp_path, truth, kind):
    splits = load_splits((DIVIDED | WHOLE)[kind](tmp_path), 0.25, 0, with_masks=True)
    for part in all_parts(splits).values():
        for source, objects in zip(part.sources, part.labels, strict=True):
            expected = truth[source.name]
            assert objects.masks == expected.masks
            assert objects.areas.tolist() == expected.areas.tolist()


@pytest.mark.parametrize(
    ("file", "images"), [("mine.json", "."), ("mine.json", "images"), ("annotations/mine.json", ".")]
)
def test_a_file_of_coco_s_format_may_have_any_name_and_its_images_near_it(tmp_path, file, images):
    write_images(tmp_path / images)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(json.dumps(describe()))
    assert list(load_eval(tmp_path / file, CLASSES, True).names) == list(IMAGES)


def test_names_that_windows_wrote_are_found(tmp_path):
    write_label_studio(tmp_path, separator="\\")
    assert len(load_eval(tmp_path, CLASSES, False)) == len(IMAGES)


def test_two_layouts_in_one_folder_are_refused_and_the_file_chooses(tmp_path):
    write_yolo(tmp_path)
    write_roboflow(tmp_path)
    with pytest.raises(MaxViTError, match=r"laid out in 2 ways .*COCO: .*YOLO: .* give the file of annotations"):
        load_splits(tmp_path, 0.2, 0, with_masks=False)
    assert list(load_eval(tmp_path / "data.yaml", CLASSES, False).names) == PARTS["test"]


def test_annotations_of_all_images_and_of_parts_at_once_are_refused(tmp_path):
    write_cvat(tmp_path)
    (tmp_path / "annotations/instances_train.json").write_text("{}")
    with pytest.raises(MaxViTError, match=r"instances_default.json of all images and .*instances_train.json of parts"):
        load_splits(tmp_path, 0.2, 0, with_masks=False)


def test_what_is_not_a_layout_is_told_what_is_there_and_what_is_read(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(MaxViTError) as caught:
        load_splits(tmp_path, 0.2, 0, with_masks=False)
    assert "holds a.jpg, b.jpg, c.jpg, d.jpg, e.jpg and 1 more" in str(caught.value)
    for words in ("instances_train", "data.yaml", "Annotations/*.xml", "labelme", "docs/detection.md"):
        assert words in str(caught.value)


def test_the_group_of_roboflow_s_categories_is_no_class_unless_it_has_objects(tmp_path):
    write_roboflow(tmp_path)
    file = tmp_path / "train/_annotations.coco.json"
    data = json.loads(file.read_text())
    data["annotations"][0]["category_id"] = 0
    file.write_text(json.dumps(data))
    assert load_splits(tmp_path, 0.2, 0, with_masks=False).train.class_names == ["colours", *CLASSES]


def test_folders_that_are_the_same_part_are_refused(tmp_path):
    write_roboflow(tmp_path)
    (tmp_path / "val").mkdir()
    (tmp_path / "valid/_annotations.coco.json").rename(tmp_path / "val/_annotations.coco.json")
    write_images(tmp_path / "val", [FIRST])
    (tmp_path / "valid/_annotations.coco.json").write_text("{}")
    with pytest.raises(MaxViTError, match=r"there are .*val/_annotations.coco.json and .*: keep one"):
        load_splits(tmp_path, 0.2, 0, with_masks=False)

"""COCO's files: what is found in them, and what is refused."""

import json
import pickle

import numpy as np
import pytest

from coco_samples import IMAGES, describe, write_coco, write_images
from maxvit.data.finding import MISSING, PassedOver
from maxvit.data.images import decode as decode_image
from maxvit.data.record import fingerprint
from maxvit.errors import MaxViTError
from maxvit.tasks.detection.coco import read_coco
from maxvit.tasks.detection.data import load_eval, load_splits


def read(folder, data=None, with_masks=True, **options):
    write_coco(folder, data)
    return read_coco(folder / "annotations.json", [folder / "images"], with_masks, **options)


def refusal(folder, data, with_masks=True):
    with pytest.raises(MaxViTError) as caught:
        read(folder, data, with_masks)
    assert str(folder / "annotations.json") in str(caught.value)
    return str(caught.value)


def test_boxes_labels_and_masks_are_where_the_image_shows_them(tmp_path):
    images = read(tmp_path)
    assert images.class_names == ["red", "blue"]  # by id, not by place in the file
    assert list(images.names) == list(IMAGES)
    for source, objects in zip(images.sources, images.labels, strict=True):
        pixels = np.asarray(decode_image(source)).astype(int)
        assert objects.size == pixels.shape[:2]
        truth = objects.to_learn()
        shown = np.stack([pixels[..., 0] == 220, pixels[..., 2] == 220])
        found = np.zeros_like(shown)
        for box, label, mask in zip(truth["boxes"].int().tolist(), truth["labels"], truth["masks"], strict=True):
            left, top, right, bottom = box
            inside = np.zeros(objects.size, bool)
            inside[top:bottom, left:right] = True
            assert np.array_equal(mask.numpy(), inside)
            found[label - 1] |= inside
        assert np.array_equal(found, shown)


def test_ids_of_the_file_are_kept_for_results_and_classes_that_it_lacks_have_others(tmp_path):
    images = read(tmp_path)
    assert [objects.ids.image for objects in images.labels] == [11, 12, 13, 14]
    assert {objects.ids.categories for objects in images.labels} == {(3, 7)}
    images = read(tmp_path, class_names=["green", "blue", "black", "red"])
    assert images.labels[0].ids.categories == (8, 7, 9, 3)


def test_other_ids_are_the_same_data(tmp_path):
    data = describe()
    known = fingerprint(read(tmp_path, data))
    for entry, key in [*((i, "id") for i in data["images"]), *((a, "image_id") for a in data["annotations"])]:
        entry[key] += 500
    assert fingerprint(read(tmp_path, data)) == known


def test_an_annotation_travels_between_processes(tmp_path):
    objects = read(tmp_path).labels[0]
    twin = pickle.loads(pickle.dumps(objects))
    assert twin.masks == objects.masks
    assert np.array_equal(twin.boxes, objects.boxes)


def test_without_masks_a_file_needs_none(tmp_path):
    data = describe()
    for annotation in data["annotations"]:
        del annotation["segmentation"]
    objects = read(tmp_path, data, with_masks=False).labels[0]
    assert objects.masks is None
    assert "masks" not in objects.to_learn()
    assert "annotation 100 has no segmentation, and this detector learns masks" in refusal(tmp_path, data)


def test_boxes_are_cut_at_the_border_and_those_without_area_are_left_out_and_counted(tmp_path, caplog):
    data = describe(["000000000011.png"])  # 37 x 61
    boxes = [[-4, -3, 9, 10], [50, 30, 40, 40], [61, 0, 5, 5], [3, -8, 5, 8], [7, 7, 0, 4], [7, 7, 4, -1], [9, 8, 1, 1]]
    data["annotations"] = [
        {"id": i, "image_id": 11, "category_id": 3, "bbox": box, "iscrowd": 0} for i, box in enumerate(boxes)
    ]
    objects = read(tmp_path, data, with_masks=False).labels[0]
    assert objects.boxes.tolist() == [[0, 0, 5, 7], [50, 30, 61, 37], [9, 8, 10, 9]]
    assert objects.areas.tolist() == [35, 77, 1]  # the file says none
    assert "4 objects are left out" in caplog.text
    assert "4 objects reach beyond their image" in caplog.text


@pytest.mark.parametrize("area", [0, -5, None, "12"])
def test_an_area_that_is_none_is_that_of_the_box(tmp_path, area):
    data = describe()
    data["annotations"][0]["area"] = area
    objects = read(tmp_path, data).labels[0]
    width, height = data["annotations"][0]["bbox"][2:]
    assert objects.areas[0] == pytest.approx(width * height)


def test_a_polygon_without_pixels_is_left_out(tmp_path, caplog):
    data = describe()
    data["annotations"][0]["segmentation"] = [[1, 1, 5, 5]]
    assert read(tmp_path, data).labels[0].labels.tolist() == [1]
    assert "1 objects are left out" in caplog.text


def test_a_crowd_is_compared_and_not_learned(tmp_path):
    data = describe()
    data["annotations"][0] |= {"iscrowd": 1, "segmentation": {"size": [37, 61], "counts": [37 * 5, 74, 37 * 54]}}
    objects = read(tmp_path, data).labels[0]
    assert objects.to_learn()["labels"].tolist() == [1]
    assert len(objects.to_learn()["masks"]) == 1
    assert objects.to_compare()["crowd"].tolist() == [True, False]
    assert len(objects.to_compare()["rle"]) == 2


@pytest.mark.parametrize("with_masks", [True, False])
def test_an_image_without_objects_stays(tmp_path, with_masks):
    objects = read(tmp_path, with_masks=with_masks).labels[2]
    assert objects.to_compare()["boxes"].shape == (0, 4)
    assert objects.to_learn().get("masks", np.zeros((0, 47, 47))).shape == (0, 47, 47)


def test_classes_are_those_of_the_network_by_name(tmp_path):
    images = read(tmp_path, class_names=["green", "blue", "red"])
    assert images.labels[0].labels.tolist() == [2, 3]
    assert images.class_names == ["green", "blue", "red"]
    with pytest.raises(MaxViTError, match="category 'blue' is not a class of the model"):
        read(tmp_path, class_names=["red"])


def test_names_of_classes_may_be_numbers(tmp_path):
    data = describe()
    for number, category in enumerate(data["categories"]):
        category["name"] = number
    assert sorted(read(tmp_path, data).class_names) == ["0", "1"]


def test_a_category_without_objects_may_be_unknown_to_the_network(tmp_path):
    data = describe(["000000000012.png"])
    assert read(tmp_path, data, class_names=["red"]).labels[0].labels.tolist() == [1]


BROKEN = {
    "no images": (lambda d: d.pop("images"), '"images" is missing'),
    "empty images": (lambda d: d.update(images=[]), '"images" is empty'),
    "images a text": (lambda d: d.update(images="x"), '"images" is not a list'),
    "no annotations": (lambda d: d.pop("annotations"), '"annotations" is missing'),
    "no categories": (lambda d: d.pop("categories"), '"categories" is missing'),
    "entry a number": (lambda d: d["images"].append(3), 'entry 4 of "images" has no integer as its id'),
    "id a list": (lambda d: d["images"][1].update(id=[1]), 'entry 1 of "images" has no integer as its id'),
    "id twice": (lambda d: d["annotations"][1].update(id=100), 'entry 1 of "annotations" has the id 100, as another'),
    "name twice": (lambda d: d["categories"][0].update(name="red"), "categories 3 and 7 are both called 'red'"),
    "no name": (lambda d: d["categories"][0].pop("name"), "category 7 has no name"),
    "no file name": (lambda d: d["images"][0].pop("file_name"), "image 11 has no file_name"),
    "no height": (lambda d: d["images"][0].pop("height"), "image 11 has height None and width 61"),
    "image unknown": (lambda d: d["annotations"][0].update(image_id=99), "annotation 100 is of image 99"),
    "image a list": (lambda d: d["annotations"][0].update(image_id=[1]), "annotation 100 is of image [1]"),
    "category unknown": (lambda d: d["annotations"][0].update(category_id=4), "annotation 100 is of category 4"),
    "no box": (lambda d: d["annotations"][0].pop("bbox"), "annotation 100 has bbox None"),
    "box of three": (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "annotation 100 has bbox [1, 2, 3]"),
    "box of nan": (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, float("nan")]), "annotation 100 has bbox"),
    "box of text": (lambda d: d["annotations"][0].update(bbox=[1, 2, 3, "4"]), "annotation 100 has bbox"),
    "crowd of two": (lambda d: d["annotations"][0].update(iscrowd=2), "annotation 100 has iscrowd 2"),
    "no segmentation": (lambda d: d["annotations"][0].update(segmentation=[]), "annotation 100 has no segmentation"),
    "odd polygon": (lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3]]), "a polygon is a list [x, y"),
    "far polygon": (lambda d: d["annotations"][0].update(segmentation=[[1, 2, 3, 1e9, 4, 4]]), "a polygon is a list"),
    "polygon of text": (lambda d: d["annotations"][0].update(segmentation=["12"]), "a polygon is a list"),
    "no images there": (lambda d: [i.update(file_name="no.png") for i in d["images"]], "none of the 4 images of"),
    "boxes of shares": (lambda d: [a.update(bbox=[0.1, 0.2, 0.5, 1]) for a in d["annotations"]], "within 0 to 1, such"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_in_a_file_is_named(tmp_path, kind):
    spoil, words = BROKEN[kind]
    data = describe()
    spoil(data)
    assert words in refusal(tmp_path, data)


def test_whole_numbers_may_be_written_with_a_point(tmp_path):
    data = describe()
    for entry in (*data["images"], *data["annotations"], *data["categories"]):
        entry |= {k: float(v) for k, v in entry.items() if k in ("id", "image_id", "category_id", "height", "iscrowd")}
    pointed, plain = read(tmp_path, data), read(tmp_path)
    assert pointed.class_names == plain.class_names
    for one, other in zip(pointed.labels, plain.labels, strict=True):
        assert (one.size, one.labels.tolist()) == (other.size, other.labels.tolist())
        assert one.boxes.tolist() == other.boxes.tolist()


def test_images_that_do_not_exist_are_left_out_and_counted(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "images" / FIRST).unlink()
    images = read_coco(tmp_path / "annotations.json", [tmp_path / "images"], False)
    assert list(images.names) == [SECOND, EMPTY, LAST]
    assert [objects.name for objects in images.labels] == [SECOND, EMPTY, LAST]
    assert images.passed_over == [PassedOver(tmp_path / "images" / FIRST, MISSING)]


def test_categories_are_known_in_either_unicode_form(tmp_path):
    data = describe()
    data["categories"][0]["name"] = "cafe\u0301"
    assert read(tmp_path, data, class_names=["caf\u00e9", "red"]).labels[0].labels.tolist() == [1, 2]


@pytest.mark.parametrize("text", ["", "[", "[" * 100_000, "3", "[]", "\xff"])
def test_what_is_not_json_of_the_format_is_refused(tmp_path, text):
    file = write_coco(tmp_path) / "annotations.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(MaxViTError, match=r"annotations.json (is not JSON|holds a)"):
        read_coco(file, [tmp_path / "images"], False)


def official(folder, parts, images="{part}2017"):
    """Named as COCO's own files are."""
    (folder / "annotations").mkdir(parents=True)
    for part, files in parts.items():
        write_images(folder / images.format(part=part), files)
        (folder / "annotations" / f"instances_{part}2017.json").write_text(json.dumps(describe(files)))
    return folder


FIRST, SECOND, EMPTY, LAST = IMAGES


@pytest.mark.parametrize("images", ["{part}2017", "images/{part}2017", "images"])
def test_the_official_layout_has_its_parts(tmp_path, images):
    official(tmp_path, {"train": [FIRST, LAST], "val": [SECOND], "test": [EMPTY, SECOND]}, images)
    splits = load_splits(tmp_path, 0.2, 0, with_masks=True)
    assert [list(part.names) for part in (splits.train, splits.val, splits.test)] == [
        [FIRST, LAST],
        [SECOND],
        [EMPTY, SECOND],
    ]
    assert all(source.is_file() for part in (splits.train, splits.val, splits.test) for source in part.sources)
    assert list(load_eval(tmp_path, ["red", "blue"], True).names) == [EMPTY, SECOND]


def test_without_a_validation_part_a_share_is_held_out_the_same_each_time(tmp_path):
    write_coco(tmp_path)
    splits = [load_splits(tmp_path, 0.25, seed, with_masks=False) for seed in (5, 5)]
    assert splits[0].test is None
    assert (len(splits[0].train), len(splits[0].val)) == (3, 1)
    assert sorted([*splits[0].train.names, *splits[0].val.names]) == sorted(IMAGES)
    assert list(splits[0].val.names) == list(splits[1].val.names)
    assert len(load_eval(tmp_path, ["red", "blue"], False)) == 4


def test_folders_without_what_is_needed_are_refused(tmp_path):
    def words(folder):
        with pytest.raises(MaxViTError) as caught:
            load_splits(folder, 0.2, 0, with_masks=False)
        return str(caught.value)

    assert "missing does not exist: give a folder" in words(tmp_path / "missing")
    (tmp_path / "data.zip").touch()
    assert "data.zip is a file of another kind: give a folder" in words(tmp_path / "data.zip")
    (tmp_path / "data.zip").unlink()
    assert "holds nothing, which is not a layout" in words(tmp_path)
    (tmp_path / "annotations.json").write_text(json.dumps(describe()))
    assert words(tmp_path).endswith(f"lacks its images: put them into {tmp_path / 'images'}")
    assert "has the parts val, and none to learn from" in words(official(tmp_path / "a", {"val": [FIRST]}))
    assert "no object to learn from" in words(official(tmp_path / "b", {"train": [EMPTY, EMPTY][:1], "val": [FIRST]}))
    assert "a single image" in words(official(tmp_path / "c", {"train": [FIRST]}))
    both = official(tmp_path / "d", {"train": [FIRST, LAST]})
    (both / "annotations" / "instances_train2014.json").write_text("{}")
    assert "instances_train2014.json and instances_train2017.json: keep one" in words(both)

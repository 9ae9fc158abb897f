"""Each layout gives the classes that the images were made of, in the parts that it names."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from segmentation_layouts import (
    NAMES,
    PARTS,
    class_dict,
    coloured,
    coloured_palette,
    indices,
    label_colors,
    label_ids,
    labelmap,
    palette,
    places,
    write_camvid,
    write_cityscapes,
    write_lists,
    write_names,
    write_pairs,
    write_roboflow,
    write_voc,
)
from segmented import some_classes

from maxvit import MaxViTError
from maxvit.data.finding import PassedOver
from maxvit.tasks import make_task
from maxvit.tasks.segmentation.data import LAYOUTS, recognizes

TASK = make_task({"name": "segmentation"})
CLASSES = "sky\ntree\nroad\n"


def named(folder, image, mask, paint=indices, file="classes.txt", text=CLASSES):
    return write_names(write_pairs(folder, image, mask, paint), file, text)


def voc_with(file, text, paint):
    return lambda folder: write_names(write_voc(folder, paint), file, text)


DIVIDED = {
    "train/images, train/masks": lambda f: named(f, "{part}/images/x{i}.png", "{part}/masks/x{i}.png"),
    "train/images, train/labels": lambda f: named(f, "{part}/images/x{i}.png", "{part}/labels/x{i}_mask.png"),
    "images/train, masks/train": lambda f: named(f, "images/{part}/a/x{i}.png", "masks/{part}/a/x{i}.png"),
    "img_dir, ann_dir": lambda f: named(f, "img_dir/{part}/x{i}.png", "ann_dir/{part}/x{i}.png", palette),
    "train/image, train/label": lambda f: named(f, "{part}/image/x{i}.png", "{part}/label/x{i}.png"),
    "train_images, train_mask": lambda f: named(f, "{part}_images/x{i}.png", "{part}_mask/x{i}.png"),
    "trainannot": lambda f: named(f, "{part}/x{i}.png", "{part}annot/x{i}.png"),
    "voc": voc_with("classes.txt", CLASSES, palette),
    "voc by cvat": voc_with("labelmap.txt", labelmap(), coloured),
    "voc by cvat, palette": voc_with("labelmap.txt", labelmap(), coloured_palette),
    "camvid": write_camvid,
    "camvid, palette": partial(write_camvid, paint=coloured_palette),
    "camvid, places": partial(write_camvid, paint=places),
    "roboflow": write_roboflow,
    "beside, colours": lambda f: named(
        f, "{part}/x{i}_sat.bmp", "{part}/x{i}_mask.png", coloured, "class_dict.csv", class_dict()
    ),
}
WHOLE = {
    "images, masks": lambda f: named(f, "images/a/x{i}.png", "masks/a/x{i}.png"),
    "imgs, mask": lambda f: named(f, "imgs/x{i}.png", "mask/x{i}.png"),
    "images, labels": lambda f: named(f, "images/x{i}.png", "labels/x{i}_P.png", file="codes.txt"),
    "colours": lambda f: named(f, "images/x{i}.png", "masks/x{i}_L.png", coloured, "label_colors.txt", label_colors()),
    "beside": lambda f: named(f, "x{i}.bmp", "x{i}_mask.png"),
    "labelme's voc": lambda f: named(
        f, "JPEGImages/x{i}.png", "SegmentationClassPNG/x{i}.png", palette, "class_names.txt"
    ),
}


def all_parts(splits):
    return {name: part for name in ("train", "val", "test") if (part := getattr(splits, name)) is not None}


def number(path):
    """The number of an image, as its name says it."""
    return int("".join(c for c in path.stem if c.isdecimal())[:1])


def assert_is_true(images, truth=some_classes):
    for source, label in zip(images.sources, images.labels, strict=True):
        expected = truth(number(source))
        assert torch.equal(TASK.target(label, expected.shape), torch.from_numpy(expected))


@pytest.mark.parametrize("kind", [*DIVIDED, *WHOLE])
def test_masks_hold_the_classes_that_they_were_made_of(tmp_path, kind):
    splits = TASK.load((DIVIDED | WHOLE)[kind](tmp_path), 0.3, 0)
    for part in all_parts(splits).values():
        assert part.class_names == NAMES
        assert_is_true(part)


@pytest.mark.parametrize("kind", DIVIDED)
def test_a_divided_data_set_keeps_its_parts(tmp_path, kind):
    splits = TASK.load(DIVIDED[kind](tmp_path), 0.3, 0)
    assert {name: [number(s) for s in part.sources] for name, part in all_parts(splits).items()} == PARTS
    assert TASK.load_eval(tmp_path, NAMES).part == "test"


@pytest.mark.parametrize("kind", WHOLE)
def test_of_a_data_set_without_parts_a_share_is_held_out(tmp_path, kind):
    splits = TASK.load(WHOLE[kind](tmp_path), 0.3, 0)
    assert (len(splits.train), len(splits.val), splits.test) == (3, 1, None)
    assert TASK.load_eval(tmp_path, NAMES).part == "all"


@pytest.mark.parametrize("kind", [*DIVIDED, *WHOLE])
def test_nothing_is_passed_over_in_what_is_complete(tmp_path, kind):
    splits = TASK.load((DIVIDED | WHOLE)[kind](tmp_path), 0.3, 0)
    assert [passed for part in all_parts(splits).values() for passed in part.passed_over] == []


@pytest.mark.parametrize("kind", ["camvid", "roboflow", "images, masks"])
def test_classes_are_numbered_as_the_network_has_them(tmp_path, kind):
    images = TASK.load_eval((DIVIDED | WHOLE)[kind](tmp_path), ["road", "sea", "tree", "sky"])
    assert_is_true(images, lambda i: np.array([3, 2, 0, *[255] * 253], np.uint8)[some_classes(i)])
    with pytest.raises(MaxViTError, match=r"'tree' of .* is not a class of the model"):
        TASK.load_eval(tmp_path, ["sky", "road"])


# Cityscapes and VOC's own


@pytest.mark.parametrize(("ids", "paint"), [("labelTrainIds", indices), ("labelIds", label_ids)])
def test_cityscapes_has_its_classes_and_its_test_part_no_masks(tmp_path, ids, paint):
    splits = TASK.load(write_cityscapes(tmp_path, ids, paint), 0.2, 0)
    assert splits.train.class_names[:3] == ["road", "sidewalk", "building"]
    assert len(splits.train.class_names) == 19
    assert (len(splits.train), len(splits.val), splits.test) == (2, 1, None)
    for part in (splits.train, splits.val):
        assert part.passed_over == []
        for source, label in zip(part.sources, part.labels, strict=True):
            expected = some_classes(int(source.stem.split("_")[1]))
            assert torch.equal(TASK.target(label, expected.shape), torch.from_numpy(expected))


def test_of_both_kinds_of_cityscapes_masks_those_of_the_classes_are_read(tmp_path):
    write_cityscapes(tmp_path)
    write_cityscapes(tmp_path, "labelIds", label_ids)
    splits = TASK.load(tmp_path, 0.2, 0)
    assert all(label.path.stem.endswith("labelTrainIds") for label in splits.train.labels)


def test_voc_s_own_classes_are_those_of_its_lists(tmp_path):
    write_voc(tmp_path)
    (tmp_path / "ImageSets/Main").mkdir()
    for name in ("aeroplane_train", "bicycle_train", "bicycle_val", "train"):
        (tmp_path / f"ImageSets/Main/{name}.txt").touch()
    assert TASK.load(tmp_path, 0.2, 0).train.class_names == ["background", "aeroplane", "bicycle"]


def test_images_that_voc_s_lists_name_and_that_lack_a_mask_or_a_file_are_counted(tmp_path):
    write_lists(write_pairs(tmp_path, "JPEGImages/x{i}.png", "SegmentationClass/x{i}.png"), {"train": [0, 1, 2, 9]})
    (tmp_path / "SegmentationClass/x1.png").unlink()
    images = TASK.load_eval(tmp_path, NAMES)
    assert list(images.names) == ["x0.png", "x2.png"]
    assert images.passed_over == [
        PassedOver(tmp_path / "JPEGImages/x1.png", "without a mask"),
        PassedOver(tmp_path / "JPEGImages/x9", "missing"),
    ]


# black and white


def two(i):
    return (some_classes(i) == 1).astype(np.uint8)


def black_and_white(classes):
    return Image.fromarray(np.where(classes == 1, 255, 0).astype(np.uint8))


def write_black_and_white(folder, paint=black_and_white):
    return write_pairs(folder, "images/x{i}.png", "masks/x{i}.png", paint)


@pytest.mark.parametrize(
    "paint", [black_and_white, lambda c: black_and_white(c).convert("RGB"), lambda c: black_and_white(c).convert("P")]
)
def test_masks_in_black_and_white_have_two_classes(tmp_path, paint):
    splits = TASK.load(write_black_and_white(tmp_path, paint), 0.3, 0)
    assert splits.train.class_names == ["class 0", "class 1"]
    assert_is_true(splits.train, two)


def test_masks_in_black_and_white_take_the_two_names_and_the_network_s_numbers(tmp_path):
    write_names(write_black_and_white(tmp_path), "classes.txt", "ground\nwater\n")
    images = TASK.load_eval(tmp_path, ["water", "ground"])
    assert_is_true(images, lambda i: 1 - two(i))


def test_one_mask_with_another_value_leaves_255_ignored(tmp_path):
    write_names(write_black_and_white(tmp_path), "classes.txt", "ground\nwater\n")
    Image.fromarray(two(3)).save(tmp_path / "masks/x3.png")
    images = TASK.load_eval(tmp_path, ["ground", "water"])
    assert_is_true(images.subset([0, 1, 2]), lambda i: np.where(two(i), 255, 0).astype(np.uint8))
    assert_is_true(images.subset([3]), two)


def test_a_value_between_black_and_white_is_named(tmp_path):
    images = TASK.load_eval(write_black_and_white(tmp_path), ["ground", "water"])
    Image.fromarray(np.full((37, 29), 254, np.uint8)).save(tmp_path / "masks/x0.png")
    with pytest.raises(MaxViTError, match="has the value 254 at 1073 pixels; values are 0 and 255: correct it"):
        TASK.target(images.labels[0], (37, 29))


@pytest.mark.parametrize(
    ("names", "words"), [(None, "two classes, and the network has 3"), (CLASSES, "two classes, and 3 are named")]
)
def test_black_and_white_is_two_classes_and_no_more(tmp_path, names, words):
    write_black_and_white(tmp_path)
    if names:
        (tmp_path / "classes.txt").write_text(names)
    with pytest.raises(MaxViTError, match=words):
        TASK.load_eval(tmp_path, NAMES)


# what is wrong


def test_a_colour_that_the_table_lacks_is_named(tmp_path):
    splits = TASK.load(write_camvid(tmp_path), 0.2, 0)
    with Image.open(tmp_path / "train_labels/x0_L.png") as mask:
        mask.putpixel((3, 5), (128, 64, 128))
        mask.save(tmp_path / "train_labels/x0_L.png")
    with pytest.raises(MaxViTError, match=r"x0_L.png has the colour \(128, 64, 128\) .* at 1 pixels, which class_dict"):
        TASK.target(splits.train.labels[0], (37, 29))


def test_void_of_a_table_is_said_to_be_ignored(tmp_path, caplog):
    TASK.load(write_camvid(tmp_path), 0.2, 0)
    assert "class_dict.csv: pixels of Void are ignored" in caplog.text


BROKEN = {
    "no colour": ("class_dict.csv", "sky,1,2,3\ntree,4,5\n", "line 2 is 'tree,4,5'; a line takes name,r,g,b"),
    "above 255": ("class_dict.csv", "sky,1,2,3\ntree,4,5,256\n", "line 2 is 'tree,4,5,256'; a line takes name,r,g,b"),
    "no name": ("label_colors.txt", "1 2 3 sky\n4 5 6\n", "line 2 is '4 5 6'; a line takes r g b name"),
    "no numbers": ("label_colors.txt", "sky\ntree\n", "line 1 is 'sky'; a line takes r g b name"),
    "name twice": ("label_colors.txt", "1 2 3 sky\n\n4 5 6 sky\n", "line 3 names 'sky', as line 1 does"),
    "colour twice": ("labelmap.txt", "sky:1,2,3::\ntree:1,2,3::\n", "line 2 gives 'tree' the colour of 'sky' (line 1)"),
    "one class": ("labelmap.txt", "sky:1,2,3::\nvoid:0,0,0::\n", "names 1 classes; it takes 2 to 254"),
    "value twice": ("_classes.csv", "Value,Class\n0,sky\n0,tree\n", "line 3 has the value 0 for the second time"),
    "value a word": ("_classes.csv", "Value,Class\n0,sky\none,tree\n", "line 3 is 'one,tree'; it takes a value"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_in_a_table_is_named_with_its_line(tmp_path, kind):
    name, text, words = BROKEN[kind]
    write_names(write_pairs(tmp_path, "images/x{i}.png", "masks/x{i}.png"), name, text)
    with pytest.raises(MaxViTError) as caught:
        TASK.load(tmp_path, 0.2, 0)
    assert str(tmp_path / name) in str(caught.value)
    assert words in str(caught.value)


def test_two_files_that_name_the_classes_are_refused(tmp_path):
    write_names(write_camvid(tmp_path), "classes.txt", CLASSES)
    with pytest.raises(MaxViTError, match=r"classes.txt and class_dict.csv both name the classes"):
        TASK.load(tmp_path, 0.2, 0)


def test_two_layouts_in_one_folder_are_refused(tmp_path):
    write_camvid(tmp_path)
    write_pairs(tmp_path, "images/x{i}.png", "masks/x{i}.png")
    with pytest.raises(MaxViTError, match=r"in 2 ways \(train and train_masks .*; and images and masks"):
        TASK.load(tmp_path, 0.2, 0)


def test_two_folders_that_are_the_same_part_are_refused(tmp_path):
    for part in ("train", "val", "valid"):
        write_pairs(tmp_path, f"{part}/images/x{{i}}.png", f"{part}/masks/x{{i}}.png")
    with pytest.raises(MaxViTError, match=r"val/images and .*valid/images are both the val part"):
        TASK.load(tmp_path, 0.2, 0)
    assert recognizes(tmp_path)


def test_two_masks_for_each_image_are_refused(tmp_path):
    write_pairs(tmp_path, "images/x{i}.png", "masks/x{i}.png")
    write_pairs(tmp_path, "images/x{i}.png", "masks/x{i}_mask.png")
    with pytest.raises(MaxViTError, match="masks by two names, x with x and x with x_mask"):
        TASK.load(tmp_path, 0.2, 0)


def test_masks_of_one_name_are_refused(tmp_path):
    write_pairs(tmp_path, "images/x{i}.png", "masks/x{i}.png")
    write_pairs(tmp_path, "images/x{i}.png", "masks/x{i}.bmp")
    with pytest.raises(MaxViTError, match=r"x0.bmp and x0.png are masks of one name"):
        TASK.load(tmp_path, 0.2, 0)


def test_masks_beside_their_images_without_an_image_are_counted(tmp_path):
    write_roboflow(tmp_path)
    (tmp_path / "train/x0.bmp").unlink()
    part = TASK.load(tmp_path, 0.2, 0).train
    assert [source.name for source in part.sources] == ["x1.bmp"]
    assert part.passed_over == [PassedOver(tmp_path / "train/x0_mask.png", "without an image")]


def test_what_is_not_a_layout_is_told_what_is_there_and_what_is_read(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(MaxViTError) as caught:
        TASK.load(tmp_path, 0.2, 0)
    assert "holds notes.txt, pictures/, which is not a layout" in str(caught.value)
    assert all(layout.holds in str(caught.value) for layout in LAYOUTS)


def test_only_parts_to_evaluate_on_cannot_be_learned(tmp_path):
    write_names(write_pairs(tmp_path, "{part}/images/x{i}.png", "{part}/masks/x{i}.png"), "classes.txt", CLASSES)
    (tmp_path / "train").rename(tmp_path / "other")
    with pytest.raises(MaxViTError, match="has the parts val, test, and none to learn from"):
        TASK.load(tmp_path, 0.2, 0)
    assert TASK.load_eval(tmp_path, NAMES).part == "test"


def test_files_of_labels_are_no_masks(tmp_path):
    """YOLO's format has the same folders."""
    write_pairs(tmp_path, "images/{part}/x{i}.png", "images/{part}/x{i}.png")
    for part in PARTS:
        write_names(tmp_path, f"labels/{part}/x0.txt", "0 0.5 0.5 1 1\n")
    assert not recognizes(Path(tmp_path))

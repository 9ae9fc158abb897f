"""Every layout is read as it is meant, and what is wrong is named."""

import shutil
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from segmented import some_classes, write_folder, write_pair

from maxvit import MaxViTError
from maxvit.data.finding import PassedOver
from maxvit.tasks import make_task
from maxvit.tasks.segmentation.masks import read_values

TASK = make_task({"name": "segmentation"})
SIZE = (37, 29)


def truth(images, index):
    return TASK.target(images.labels[index], SIZE)


def test_a_split_folder_has_its_parts(tmp_path):
    for part, number in (("train", 3), ("val", 2), ("test", 1)):
        write_folder(tmp_path, f"{part}/images", f"{part}/masks", number)
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    splits = TASK.load(tmp_path, 0.2, 0)
    assert [len(s) for s in (splits.train, splits.val, splits.test)] == [3, 2, 1]
    assert splits.train.class_names == ["red", "green", "blue"]
    assert torch.equal(truth(splits.train, 2), torch.from_numpy(some_classes(2)))
    held_out = TASK.load_eval(tmp_path, ["red", "green", "blue"])
    assert [str(s) for s in held_out.sources] == [str(tmp_path / "test/images/0.png")]
    for removed, left in (("test", "val"), ("val", "all")):
        assert held_out.part == removed
        shutil.rmtree(tmp_path / removed)
        held_out = TASK.load_eval(tmp_path, ["red", "green", "blue"])
        assert held_out.part == left
    assert len(held_out) == 3


def test_a_mark_before_the_names_of_classes_is_no_part_of_them(tmp_path):
    write_folder(tmp_path, "images", "masks", 2)
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n", "utf-8-sig")
    assert TASK.load(tmp_path, 0.5, 0).train.class_names == ["red", "green", "blue"]


def test_one_folder_is_split_by_the_seed_and_classes_are_counted(tmp_path):
    write_folder(tmp_path, "images/a", "masks/a", 5)
    splits = TASK.load(tmp_path, 0.4, 1)
    assert (len(splits.train), len(splits.val), splits.test) == (3, 2, None)
    assert set(splits.train.names) | set(splits.val.names) == {f"a/{i}.png" for i in range(5)}
    assert splits.train.class_names == ["class 0", "class 1", "class 2"]
    assert list(TASK.load(tmp_path, 0.4, 1).val.names) == list(splits.val.names)


def test_ade20k_ignores_zero_and_counts_from_one(tmp_path):
    write_folder(tmp_path, "images/training", "annotations/training", 2, shift=1)
    write_folder(tmp_path, "images/validation", "annotations/validation", 1, shift=1)
    splits = TASK.load(tmp_path, 0.2, 0)
    assert splits.train.class_names == ["class 0", "class 1", "class 2"]
    assert torch.equal(truth(splits.val, 0), torch.from_numpy(some_classes(0)))
    (tmp_path / "objectInfo150.txt").write_text(
        "Idx\tRatio\tName\n1\t0.1\twall\n2\t0.1\tbuilding, edifice\n3\t0\tsky\n"
    )
    assert TASK.load(tmp_path, 0.2, 0).train.class_names == ["wall", "building", "sky"]


@pytest.mark.parametrize("masks", ["annotations", "annotations/stuffthingmaps"])
def test_coco_stuff_is_taken_as_it_is(tmp_path, masks):
    write_folder(tmp_path, "images/train2017", f"{masks}/train2017", 2)
    write_folder(tmp_path, "images/val2017", f"{masks}/val2017", 1)
    (tmp_path / "labels.txt").write_text("0: unlabeled\n1: person\n2: bicycle\n3: car\n")
    splits = TASK.load(tmp_path, 0.2, 0)
    assert splits.train.class_names == ["person", "bicycle", "car"]
    assert (len(splits.train), len(splits.val)) == (2, 1)
    assert torch.equal(truth(splits.val, 0), torch.from_numpy(some_classes(0)))


def test_classes_are_numbered_as_the_network_has_them(tmp_path):
    write_folder(tmp_path, "images", "masks", 1)
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    held_out = TASK.load_eval(tmp_path, ["blue", "other", "green", "red"])
    renumbered = np.array([3, 2, 0])
    expected = np.where(some_classes(0) == 255, 255, renumbered[some_classes(0) % 255])
    assert torch.equal(truth(held_out, 0), torch.from_numpy(expected.astype(np.uint8)))
    with pytest.raises(MaxViTError, match=r"'green' of .* is not a class of the model"):
        TASK.load_eval(tmp_path, ["red", "blue"])


@pytest.mark.parametrize("mode", ["P", "L", "I;16"])
def test_a_mask_of_any_one_channel_is_read_by_its_values(tmp_path, mode):
    write_folder(tmp_path, "images", "masks", 2)
    mask = Image.fromarray(some_classes(0).astype(np.uint16) if mode == "I;16" else some_classes(0))
    if mode == "P":
        mask.putpalette([7, 7, 7] * 256)  # all values look alike
    mask.save(tmp_path / "masks/0.png")
    with Image.open(tmp_path / "masks/0.png") as image:
        assert image.mode == mode
    assert torch.equal(truth(TASK.load_eval(tmp_path, ["a", "b", "c"]), 0), torch.from_numpy(some_classes(0)))


def break_size(folder):
    write_pair(folder / "other.png", folder / "masks/0.png", some_classes(0, (29, 37)))


def break_value(folder):
    classes = some_classes(0)
    classes[5, :4] = 9
    Image.fromarray(classes).save(folder / "masks/0.png")


def break_colours(folder):
    Image.new("RGB", (29, 37), "red").save(folder / "masks/0.png")


def break_file(folder):
    (folder / "masks/0.png").write_bytes(b"no image at all")


def break_16_bits(folder):
    Image.fromarray(np.full(SIZE, 300, np.uint16)).save(folder / "masks/0.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_size, r"0.png has 29 x 37 pixels \(height x width\) and its image, upright, 37 x 29"),
        (break_value, "0.png has the value 9 at 4 pixels; values are 0 to 2, and 255"),
        (break_colours, "^mask .*0.png is of mode RGB, and a mask has one channel"),
        (break_file, "0.png is not an image"),
        (break_16_bits, "0.png has values from 300 to 300"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(tmp_path, damage, message):
    write_folder(tmp_path, "images", "masks", 2)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    damage(tmp_path)
    images = TASK.load_eval(tmp_path, ["a", "b", "c"])
    with pytest.raises(MaxViTError, match=message):
        truth(images, 0)


@pytest.mark.parametrize(
    ("layout", "remove", "message"),
    [
        (("images", "masks"), "masks/*.png", "masks holds no masks"),
        (("images", "masks"), "masks", "the folder .*masks does not exist"),
        (("images", "masks"), "images/*.png", "images holds no images"),
        (("images/training", "annotations/training"), "annotations", "annotations/training does not exist"),
        (("pictures", "masks"), None, "takes train/images and train/masks"),
    ],
)
def test_what_is_missing_is_named(tmp_path, layout, remove, message):
    write_folder(tmp_path, *layout, 3)
    for path in sorted(tmp_path.glob(f"{remove}/**/*") if remove == "masks" else tmp_path.glob(remove or "none")):
        if path.is_dir():
            path.rename(tmp_path / "elsewhere")
        else:
            path.unlink()
    if remove == "masks":
        (tmp_path / "masks").rmdir()
    with pytest.raises(MaxViTError, match=message):
        TASK.load(tmp_path, 0.2, 0)


@pytest.mark.parametrize(
    ("text", "message"), [("a\nb\na\n", "names 'a' twice"), ("", "names 0 classes"), ("\xff", "as text")]
)
def test_names_that_cannot_be_used_are_refused(tmp_path, text, message):
    write_folder(tmp_path, "images", "masks", 2)
    (tmp_path / "classes.txt").write_text(text, "latin-1")
    with pytest.raises(MaxViTError, match=message):
        TASK.load(tmp_path, 0.2, 0)


@pytest.mark.parametrize(("values", "number"), [((255,), "0 classes"), ((1, 255), "1 class"), ((0,), "1 class")])
def test_masks_of_fewer_than_two_classes_are_refused(tmp_path, values, number):
    classes = np.resize(np.array(values, np.uint8), SIZE)
    write_pair(tmp_path / "images/0.png", tmp_path / "masks/0.png", classes)
    with pytest.raises(MaxViTError, match=f"have {number} other than what is ignored"):
        TASK.load(tmp_path, 0.2, 0)


def test_images_without_a_mask_and_masks_without_an_image_are_left_out_and_counted(tmp_path):
    write_folder(tmp_path, "images", "masks", 4)
    (tmp_path / "masks/1.png").unlink()
    (tmp_path / "images/2.png").unlink()
    held_out = TASK.load_eval(tmp_path, ["a", "b", "c"])
    assert list(held_out.names) == ["0.png", "3.png"]
    assert list(held_out.passed_over) == [
        PassedOver(tmp_path / "images/1.png", "without a mask"),
        PassedOver(tmp_path / "masks/2.png", "without an image"),
    ]


def test_masks_of_other_names_than_the_images_are_refused(tmp_path):
    write_folder(tmp_path, "images", "masks", 2)
    for i in range(2):
        (tmp_path / f"masks/{i}.png").rename(tmp_path / f"masks/{i}_other.png")
    with pytest.raises(MaxViTError, match=r"no image of .* has a mask; .*images/0\.png takes .*masks/0\.png"):
        TASK.load(tmp_path, 0.5, 0)


def test_an_image_and_its_mask_may_be_named_in_two_unicode_forms(tmp_path):
    write_pair(tmp_path / "images/caf\u00e9.png", tmp_path / "masks/cafe\u0301.png", some_classes(0))
    assert len(TASK.load_eval(tmp_path, ["a", "b", "c"])) == 1


def test_masks_with_a_gap_between_their_values_are_refused(tmp_path):
    write_folder(tmp_path, "images", "masks", 2)
    for i in range(2):
        Image.fromarray(np.where(some_classes(i) == 1, 100, 0).astype(np.uint8)).save(tmp_path / f"masks/{i}.png")
    with pytest.raises(
        MaxViTError, match=r"hold the values 0, 100, and no 1, .* give the classes the values 0, 1, \.\.\."
    ):
        TASK.load(tmp_path, 0.5, 0)
    (tmp_path / "classes.txt").write_text("".join(f"class {i}\n" for i in range(101)))
    assert len(TASK.load(tmp_path, 0.5, 0).train.class_names) == 101


def test_a_mask_that_is_damaged_does_not_hide_the_classes_of_the_others(tmp_path):
    write_folder(tmp_path, "images", "masks", 3)
    break_file(tmp_path)
    assert TASK.load(tmp_path, 0.3, 0).train.class_names == ["class 0", "class 1", "class 2"]


@pytest.mark.parametrize(("bits", "row", "values"), [(2, b"\x1b", [0, 1, 2, 3]), (4, b"\x0f\x71", [0, 15, 7, 1])])
def test_grey_of_a_few_bits_is_read_by_its_indices(tmp_path, bits, row, values):
    head = struct.pack(">IIBBBBB", 4, 1, bits, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert read_values(tmp_path / "mask.png").tolist() == [values]


def test_a_file_of_names_of_another_data_set_s_form_is_not_read(tmp_path):
    write_folder(tmp_path, "images", "masks", 2)
    (tmp_path / "labels.txt").write_text("0: unlabeled\n1: person\n2: bicycle\n3: car\n")
    assert TASK.load(tmp_path, 0.2, 0).train.class_names == ["class 0", "class 1", "class 2"]


def test_one_image_cannot_be_split(tmp_path):
    write_folder(tmp_path, "images", "masks", 1)
    with pytest.raises(MaxViTError, match="holds one image"):
        TASK.load(tmp_path, 0.2, 0)


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(MaxViTError, match="nowhere does not exist"):
        TASK.load(tmp_path / "nowhere", 0.2, 0)

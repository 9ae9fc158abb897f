"""From a folder to figures, files and pictures, with a detector that is told what to find."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from coco_samples import IMAGES, write_coco
from maxvit.config import Preprocessing
from maxvit.errors import MaxViTError
from maxvit.tasks import find_task, make_task
from maxvit.tasks.detection.draw import colour_of, draw_objects
from maxvit.tasks.detection.masks import as_coco, decode, encode
from maxvit.tasks.detection.predictions import category_ids, sure, to_prediction

SPEC = Preprocessing(image_size=(64, 96), fit="aspect", crop_pct=1.0)
NAMES = ["red", "blue"]
BOX_DETECTORS = ["faster-rcnn", "retinanet"]
MASK_DETECTORS = ["mask-rcnn", "cascade-mask-rcnn"]


def task(detector="mask-rcnn", **settings):
    return make_task({"name": "detection", "detector": detector, **settings})


class Oracle(nn.Module):
    """Finds what the targets say, in the pixels that it is given, the surest last."""

    def __init__(self, targets, sizes, with_masks):
        super().__init__()
        self.targets, self.sizes, self.with_masks = targets, sizes, with_masks

    def forward(self, images):
        found = []
        for truth, (height, width) in zip(self.targets, self.sizes, strict=True):
            stretch = torch.tensor([images.shape[3] / width, images.shape[2] / height] * 2)
            n = len(truth["labels"])
            one = {
                "boxes": truth["boxes"] * stretch,
                "labels": truth["labels"],
                "scores": torch.linspace(0.6, 0.9, n),
            }
            found.append(one | ({"masks": torch.ones(n, 28, 28)} if self.with_masks else {}))
        return found


@pytest.mark.parametrize("detector", BOX_DETECTORS + MASK_DETECTORS)
def test_what_is_right_in_prepared_pixels_is_right_in_the_original_s(tmp_path, detector):
    detection = task(detector)
    images = detection.load_eval(write_coco(tmp_path), NAMES)
    metric = detection.metric(NAMES)
    for source, annotation in zip(images.sources, images.labels, strict=True):
        truth = detection.target(annotation, annotation.size)
        prepared = detection.prepare(SPEC, source)
        assert prepared.shape[1:] == detection.prepared_size(SPEC, annotation.size)
        oracle = Oracle([truth, truth], [annotation.size] * 2, detector in MASK_DETECTORS)
        answers = detection.predict(oracle, torch.stack([prepared] * 2), [annotation.size] * 2)
        metric.add(answers, [truth, truth])
    found = metric.compute()
    assert found["ap"] == pytest.approx(1)
    assert ("mask_ap" in found) == (detector in MASK_DETECTORS)
    assert found.get("mask_ap50", 1) == pytest.approx(1)
    assert next(iter(found)) == "ap"  # which chooses the best epoch


def test_images_of_one_batch_go_back_to_sizes_of_their_own():
    boxes, scores = torch.tensor([[16.0, 8.0, 32.0, 64.0], [-5.0, 10.0, 200.0, 40.0]]), torch.tensor([0.2, 0.7])
    found = {"boxes": boxes, "labels": torch.tensor([2, 1]), "scores": scores}
    answer = to_prediction(found, (64, 96), (32, 480))
    torch.testing.assert_close(answer["boxes"], torch.tensor([[0.0, 5.0, 480.0, 20.0], [80.0, 4.0, 160.0, 32.0]]))
    assert answer["labels"].tolist() == [1, 2]  # the surest first
    assert answer["labels"].dtype == torch.int64
    assert to_prediction({name: t[:0] for name, t in found.items()}, (64, 96), (32, 480))["boxes"].shape == (0, 4)


def test_a_mask_lies_in_its_box_stretched_to_it():
    half = torch.zeros(1, 28, 28)
    half[0, :, :14] = 1  # its left half
    found = {"boxes": torch.tensor([[20.0, 10.0, 60.0, 30.0]]), "labels": torch.tensor([1]), "masks": half}
    answer = to_prediction(found | {"scores": torch.tensor([0.9])}, (64, 96), (128, 96))
    mask = decode([answer["rle"][0]["counts"]], (128, 96))[0]
    rows, columns = np.nonzero(mask)
    wanted = [20, 60, 20, 40]  # top, bottom, left, right in the original
    assert np.abs(np.array([rows.min(), rows.max() + 1, columns.min(), columns.max() + 1]) - wanted).max() <= 1
    assert abs(int(mask.sum()) - 20 * 40) < 80


def test_objects_are_in_the_order_of_their_scores_masks_too():
    masks = torch.stack([torch.zeros(28, 28), torch.ones(28, 28)])
    boxes = torch.tensor([[2.0, 2.0, 9.0, 9.0]] * 2)
    found = {"boxes": boxes, "labels": torch.tensor([1, 2]), "scores": torch.tensor([0.3, 0.8]), "masks": masks}
    answer = to_prediction(found, (32, 32), (32, 32))
    areas = [int(decode([mask["counts"]], (32, 32)).sum()) for mask in answer["rle"]]
    assert areas[0] > 40
    assert areas[1] == 0


def sample_answer(n=3, size=(53, 41), with_masks=True):
    boxes = torch.tensor([[2.0, 9.5, 33.0, 38.0], [1.0, 1.0, 9.0, 7.0], [20.0, 20.0, 40.0, 50.0]])[:n]
    answer = {"boxes": boxes, "labels": torch.tensor([2, 1, 2])[:n], "scores": torch.tensor([0.91, 0.75, 0.25])[:n]}
    if with_masks:
        answer["rle"] = []
        for box in boxes.int().tolist():
            mask = np.zeros(size, np.uint8)
            mask[box[1] : box[3], box[0] : box[2]] = 1
            answer["rle"].append(as_coco(encode(mask), size))
    return answer


def test_a_sentence_counts_what_is_sure():
    assert task().summary(sample_answer(), NAMES) == "1 blue (0.91), 1 red (0.75)"
    twice = sample_answer() | {"labels": torch.tensor([2, 2, 1])}
    assert task().summary(twice, NAMES) == "2 blue (0.91)"
    assert task().summary(sample_answer(0), NAMES) == "nothing found"
    unsure = sample_answer() | {"scores": torch.tensor([0.4, 0.3, 0.2])}
    assert task().summary(unsure, NAMES) == "1 blue (0.40)"
    assert len(sure(unsure)["rle"]) == 1


@pytest.mark.parametrize("with_masks", [True, False])
def test_plain_values_say_all_there_is(with_masks):
    answer = sample_answer(with_masks=with_masks)
    said = json.loads(json.dumps(task().to_json(answer, NAMES)))["objects"]
    assert [item["class"] for item in said] == ["blue", "red", "blue"]
    assert said[0]["box"] == [2.0, 9.5, 33.0, 38.0]
    assert said[1]["score"] == pytest.approx(0.75)
    assert ("mask" in said[0]) == with_masks
    if with_masks:
        mask = said[1]["mask"]
        assert decode([mask["counts"].encode()], mask["size"]).sum() == 8 * 6


def test_results_are_written_as_coco_has_them(tmp_path):
    answers = [("val/000000000139.jpg", (53, 41), sample_answer()), ("0139.png", (53, 41), sample_answer(1))]
    out = tmp_path / "deep" / "results.json"
    task().write(iter(answers), out, ["person", "train"])
    results = json.loads(out.read_text())
    assert [r.get("image_id") for r in results] == [139, 139, 139, None]
    assert results[3]["file_name"] == "0139.png"  # whose number may not be its id
    assert [r["category_id"] for r in results] == [7, 1, 7, 7]  # COCO's, which have gaps
    assert results[0]["bbox"] == [2.0, 9.5, 31.0, 28.5]
    assert results[0]["score"] == 0.91
    assert results[0]["segmentation"]["size"] == [53, 41]
    task("retinanet").write(iter([("a.png", (5, 5), sample_answer(0))]), out, NAMES)
    assert json.loads(out.read_text()) == []
    with pytest.raises(
        MaxViTError, match=r"is not a .json file, which COCO's results are: give one, such as results.json"
    ):
        task().write(iter(answers), tmp_path / "results.csv", NAMES)


def test_results_that_break_off_leave_the_old_file(tmp_path):
    out = tmp_path / "results.json"
    out.write_text("old")

    def breaking():
        yield "a.png", (53, 41), sample_answer()
        raise MaxViTError("b.png is damaged")

    with pytest.raises(MaxViTError, match=r"b.png is damaged"):
        task().write(breaking(), out, NAMES)
    assert out.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


def test_category_ids_are_coco_s_only_where_all_classes_are():
    assert category_ids(["toothbrush", "person"]) == [90, 1]
    assert category_ids(["toothbrush", "red"]) == [1, 2]
    assert category_ids(["N/A", "person"]) == [1, 2]


@pytest.mark.parametrize("size", [(53, 41), (9, 11), (600, 800), (1, 1)])
def test_a_picture_keeps_its_size_and_shows_boxes_at_their_place(size):
    height, width = size
    image = Image.new("RGB", (width, height), (120, 120, 120))
    boxes = torch.tensor([[0.2 * width, 0.4 * height, 0.9 * width, 0.95 * height]])
    answer = {"boxes": boxes, "labels": torch.tensor([2]), "scores": torch.tensor([0.8])}
    drawn = np.asarray(task("retinanet").draw_prediction(image, answer, NAMES))
    assert drawn.shape == (height, width, 3)
    assert np.asarray(image).std() == 0  # the image itself is as it was
    coloured = (drawn == colour_of(2)).all(-1)
    assert coloured.any()
    if height >= 53:
        left, top, right, bottom = boxes[0].round().int().tolist()
        assert coloured[bottom - 1, left:right].all()
        assert coloured[top:bottom, left].all()
        assert coloured[top:bottom, right - 1].all()
        assert not coloured[bottom:].any()
        middle = slice(top + (bottom - top) // 3, bottom - height // 20 - 1), slice(left + width // 20 + 1, right - 9)
        assert (drawn[middle] == 120).all()


def test_masks_tint_what_they_cover_and_nothing_else():
    image = Image.new("RGB", (41, 53), (100, 100, 100))
    mask = np.zeros((53, 41), np.uint8)
    mask[30:44, 9:31] = 1
    objects = sample_answer(1) | {"rle": [as_coco(encode(mask), (53, 41))]}
    with_mask = np.asarray(draw_objects(image, objects, ["blue"])).astype(int)
    del objects["rle"]
    without = np.asarray(draw_objects(image, objects, ["blue"])).astype(int)
    tinted = (with_mask != without).any(-1)
    outline = (without == colour_of(2)).all(-1)
    assert np.array_equal(tinted, mask.astype(bool) & ~outline)
    wanted = 0.55 * 100 + 0.45 * np.array(colour_of(2))
    assert np.abs(with_mask[35, 15] - wanted).max() < 1


def test_of_masks_that_overlap_the_first_is_on_top():
    mask = as_coco(encode(np.ones((53, 41), np.uint8)), (53, 41))
    objects = sample_answer(2) | {"rle": [mask, mask]}
    pixel = np.asarray(draw_objects(Image.new("RGB", (41, 53)), objects, ["", ""])).astype(int)[51, 39]
    below = 0.45 * np.array(colour_of(1))
    assert np.abs(pixel - (0.55 * below + 0.45 * np.array(colour_of(2)))).max() < 1


def test_truth_is_drawn_as_answers_are_and_says_which_is_a_crowd(tmp_path, monkeypatch):
    detection, names = task(), []
    monkeypatch.setattr("maxvit.tasks.detection.draw_objects", lambda image, objects, said: names.append(said) or image)
    truth = sample_answer() | {"crowd": torch.tensor([False, True, False])}
    detection.draw_target(Image.new("RGB", (41, 53)), truth, NAMES)
    detection.draw_prediction(Image.new("RGB", (41, 53)), sample_answer(), NAMES)
    assert names == [["blue", "red (crowd)", "blue"], ["blue 0.91", "red 0.75"]]


def test_training_images_come_with_their_objects(tmp_path):
    detection = task(scale=(0.9, 0.9), flip=False)
    train = detection.load(write_coco(tmp_path), 0.25, 3).train
    detection, train = pickle.loads(pickle.dumps((detection, train)))  # as into a worker
    for source, annotation in zip(train.sources, train.labels, strict=True):
        image, truth = detection.augment(SPEC, source, annotation)
        assert image.shape == (3, 64, 96)
        assert len(truth["boxes"]) == len(truth["masks"]) == len(annotation.labels)
        stretch = 0.9 * min(64 / annotation.size[0], 96 / annotation.size[1])
        sides = (annotation.boxes[:, 2:] - annotation.boxes[:, :2]) * stretch
        assert np.abs((truth["boxes"][:, 2:] - truth["boxes"][:, :2]).numpy() - sides).max(initial=0) < 1.5
        covered = truth["masks"].sum((1, 2)).numpy() / sides.prod(1)
        assert np.abs(covered - 1).max(initial=0) < 0.2


def test_an_image_of_another_size_than_its_annotation_is_refused(tmp_path):
    detection = task()
    images = detection.load_eval(write_coco(tmp_path), NAMES)
    first = next(iter(IMAGES))
    with pytest.raises(MaxViTError, match=rf"{first} is 61 x 37 pixels .*, and the annotations say 37 x 61"):
        detection.target(images.labels[0], (61, 37))
    with Image.open(images.sources[0]) as image:
        image.resize((60, 37)).save(images.sources[0])
    with pytest.raises(MaxViTError, match=r"is 37 x 60 pixels"):
        detection.augment(SPEC, images.sources[0], images.labels[0])
    images.sources[1].write_bytes(b"no image")
    with pytest.raises(MaxViTError, match=r"is not an image that can be read"):
        detection.augment(SPEC, images.sources[1], images.labels[1])


@pytest.mark.parametrize("scale", [(0, 1), (-1, 1), (2, 1)])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(MaxViTError, match=r"task.scale is .*: give two factors above 0, the smaller one first"):
        task(scale=scale)


def test_the_task_is_found_by_its_name():
    assert find_task("detection").name == "detection"


def test_without_pycocotools_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    with pytest.raises(MaxViTError, match=r"pip install 'maxvit\[detection\]'"):
        encode(np.ones((3, 4), np.uint8))


def test_double_precision_is_refused_in_words():
    with pytest.raises(MaxViTError, match=r"engine\.precision is fp64, which torchvision's detectors do not"):
        task("faster-rcnn").losses(None, torch.zeros(1, 3, 8, 8, dtype=torch.float64), [])

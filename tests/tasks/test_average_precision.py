"""Average precision by hand, by a slow definition, and as COCO's own tools read our files."""

import contextlib
import io
import itertools
import json
import math
import pickle

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from coco_samples import describe, write_coco
from maxvit.tasks.detection.coco import read_coco
from maxvit.tasks.detection.masks import as_coco, encode
from maxvit.tasks.detection.metric import AveragePrecision
from maxvit.tasks.detection.predictions import write_results

SQUARES = [(0, 0, 10, 10), (50, 50, 70, 70)]
NOTHING: list[tuple[int, int, int, int]] = []


def answer(boxes, scores=None, labels=None, masks=None):
    found = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels or [1] * len(boxes), dtype=torch.int64),
        "scores": torch.tensor(scores or [0.9] * len(boxes), dtype=torch.float32),
    }
    return found if masks is None else found | {"rle": [as_coco(encode(mask), mask.shape) for mask in masks]}


def truth(boxes, labels=None, crowd=None, masks=None):
    found = answer(boxes, None, labels, masks)
    del found["scores"]
    sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
    return found | {"crowd": torch.tensor(crowd or [False] * len(boxes)), "areas": sides.prod(1).double()}


def figures(answers, targets, names=("thing",), with_masks=False):
    metric = AveragePrecision(names, with_masks)
    metric.add(answers, targets)
    return metric.compute()


def test_all_found_is_one():
    found = figures([answer(SQUARES), answer(NOTHING)], [truth(SQUARES), truth(NOTHING)])
    assert (found["ap"], found["ap50"], found["ap75"], found["ap_small"]) == pytest.approx((1, 1, 1, 1))
    assert math.isnan(found["ap_large"])  # there is none
    assert next(iter(found)) == "ap"


def test_a_duplicate_is_a_mistake_and_a_miss_ends_the_curve():
    # recall 1/2 at precision 1, which is 51 of the 101 recalls; then nothing more is found
    found = figures([answer([SQUARES[0], SQUARES[0], (80, 0, 90, 9)], [0.9, 0.8, 0.7])], [truth(SQUARES)])
    assert found["ap"] == pytest.approx(51 / 101)
    # the second is found after the duplicate: two of three are right, at the other 50 recalls
    found = figures([answer([SQUARES[0], SQUARES[0], SQUARES[1]], [0.9, 0.8, 0.7])], [truth(SQUARES)])
    assert found["ap"] == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize(("width", "passed"), [(75, 6), (74, 5), (50, 1), (49, 0), (95, 10), (94, 9)])
def test_an_overlap_at_the_threshold_is_enough(width, passed):
    found = figures([answer([(0, 0, width, 10)])], [truth([(0, 0, 100, 10)])])  # it overlaps by width / 100
    assert found["ap"] == pytest.approx(passed / 10)
    assert (found["ap50"], found["ap75"]) == pytest.approx((float(width >= 50), float(width >= 75)))


def test_answers_within_a_crowd_are_no_mistakes_and_a_crowd_is_not_missed():
    crowd = truth([(0, 0, 100, 100), (150, 0, 160, 10)], crowd=[True, False])
    inside = [(5, 5, 15, 15), (40, 40, 60, 60), (150, 0, 160, 10)]
    assert figures([answer(inside, [0.9, 0.8, 0.7])], [crowd])["ap"] == pytest.approx(1)
    beside = [(105, 5, 115, 15), (150, 0, 160, 10)]
    assert figures([answer(beside, [0.9, 0.7])], [crowd])["ap"] == pytest.approx(0.5)


def test_the_mean_is_over_classes_that_the_truth_has():
    metric = AveragePrecision(["a", "b", "c"], False)
    metric.add([answer(SQUARES, labels=[1, 3])], [truth(SQUARES, labels=[1, 2])])
    assert metric.compute()["ap"] == pytest.approx(0.5)  # a is found, b is not, c is nowhere
    rows = metric.rows()
    assert [(row["class"], row["objects"]) for row in rows] == [("a", 1), ("b", 1), ("c", 0)]
    assert [(row["ap"], row["ap50"]) for row in rows[:2]] == [pytest.approx((1, 1)), (0, 0)]
    assert math.isnan(rows[2]["ap"])


@pytest.mark.parametrize("with_masks", [False, True])
def test_no_answer_is_zero_and_no_truth_is_no_number(with_masks):
    masks: list = [] if with_masks else None
    whole = [np.ones((80, 80), np.uint8)] * 2 if with_masks else None
    found = figures([answer(NOTHING, masks=masks)], [truth(SQUARES, masks=whole)], with_masks=with_masks)
    assert found["ap"] == found["ap50"] == found.get("mask_ap", 0) == 0
    for nothing in (
        figures([answer(SQUARES, masks=whole)], [truth(NOTHING, masks=masks)], with_masks=with_masks),
        figures([], [], with_masks=with_masks),
        figures([answer(NOTHING, masks=masks)], [truth(NOTHING, masks=masks)], with_masks=with_masks),
    ):
        assert all(map(math.isnan, nothing.values()))
    assert ("mask_ap75" in found) == with_masks


def test_masks_are_judged_by_their_own_overlap():
    box, whole, part = (0, 0, 10, 10), np.zeros((13, 17), np.uint8), np.zeros((13, 17), np.uint8)
    whole[:10, :10], part[:10, :6] = 1, 1  # 0.6 of it
    found = figures([answer([box], masks=[part])], [truth([box], masks=[whole])], with_masks=True)
    assert (found["ap"], found["mask_ap50"], found["mask_ap75"]) == pytest.approx((1, 1, 0))
    assert found["mask_ap"] == pytest.approx(0.3)  # 0.50, 0.55 and 0.60


def test_sizes_are_told_apart_by_the_area_that_the_data_set_says():
    boxes = [(0, 0, 30, 30), (100, 100, 150, 150), (200, 200, 400, 400)]
    found = figures([answer(boxes[1:])], [truth(boxes)])
    assert (found["ap_small"], found["ap_medium"], found["ap_large"]) == pytest.approx((0, 1, 1))
    said = truth(boxes) | {"areas": torch.tensor([2000.0, 2500.0, 40000.0])}
    found = figures([answer(boxes[1:])], [said])
    assert math.isnan(found["ap_small"])
    assert found["ap_medium"] == pytest.approx(51 / 101)


def drawn(number, seed):
    """Random targets and answers that overlap now and then, of three classes."""
    random = np.random.default_rng(seed)

    def boxes(n):
        corners = random.integers(0, 40, (n, 2))
        return np.concatenate([corners, corners + random.integers(8, 30, (n, 2))], 1).tolist()

    def labels(n):
        return random.integers(1, 4, n).tolist()

    counts = random.integers(0, 9, (number, 2))
    targets = [truth(boxes(n), labels(n)) for n, _ in counts]
    answers = []
    for t, (_, n) in zip(targets, counts, strict=True):
        near = (t["boxes"] + torch.from_numpy(random.integers(-3, 4, t["boxes"].shape))).tolist()
        more, all_labels = boxes(n), [*t["labels"].tolist(), *labels(n)]
        answers.append(answer(near + more, random.permutation(999)[: len(all_labels)].tolist(), all_labels))
    return answers, targets


def overlap(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    return shared / (sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - shared)


def slow_average_precision(answers, targets, classes):
    """The definition: the best first, each takes the free truth that it overlaps most."""
    values = []
    for label, threshold in itertools.product(range(1, classes + 1), np.linspace(0.5, 0.95, 10)):
        wanted = [[b for b, k in zip(t["boxes"].tolist(), t["labels"], strict=True) if k == label] for t in targets]
        found = [
            (float(score), i, box)
            for i, a in enumerate(answers)
            for box, k, score in zip(a["boxes"].tolist(), a["labels"], a["scores"], strict=True)
            if k == label
        ]
        total, right, curve = sum(map(len, wanted)), 0, []
        for number, (_, i, box) in enumerate(sorted(found, key=lambda f: -f[0]), start=1):
            best = max(wanted[i][::-1], key=lambda w: overlap(w, box), default=None)  # of equals the last, as COCO's
            if best is not None and overlap(best, box) >= threshold:
                wanted[i].remove(best)
                right += 1
            curve.append((right / total, right / number))
        values.append(np.mean([max((p for r, p in curve if r >= at), default=0) for at in np.linspace(0, 1, 101)]))
    return float(np.mean(values))


def test_many_images_agree_with_the_definition_whole_and_in_parts():
    answers, targets = drawn(17, seed=3)
    # COCO sorts equal scores by place, the definition too; yet here all differ between images
    for i, a in enumerate(answers):
        a["scores"] = (a["scores"] * 100 + i) / 1e5
    wanted = slow_average_precision(answers, targets, 3)
    assert 0.1 < wanted < 0.9
    whole = AveragePrecision("abc", False)
    whole.add(answers, targets)
    assert whole.compute()["ap"] == pytest.approx(wanted)
    first, second = AveragePrecision("abc", False), AveragePrecision("abc", False)
    first.add(answers[:5], targets[:5])
    assert first.compute()["ap"] != pytest.approx(wanted)
    second.add(answers[5:], targets[5:])
    first.merge(pickle.loads(pickle.dumps(second.state())))
    assert first.compute() == pytest.approx(whole.compute(), nan_ok=True)
    assert first.rows() == whole.rows()


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_s_own_tools_find_the_same_in_the_files(tmp_path, kind, capsys):
    data = describe()
    data["annotations"][0] |= {"iscrowd": 1, "area": 90, "segmentation": {"size": [37, 61], "counts": [300, 900, 1057]}}
    for entry, key in [*((i, "id") for i in data["images"]), *((a, "image_id") for a in data["annotations"])]:
        entry[key] += 500  # so that it is not the one in the name
    images = read_coco(write_coco(tmp_path, data) / "annotations.json", [tmp_path / "images"], True)
    random, answers = np.random.default_rng(0), []
    for objects in images.labels:
        height, width = objects.size
        corners = random.integers(0, 15, (6, 2))
        boxes = np.concatenate([corners, corners + random.integers(4, 14, (6, 2))], 1)
        boxes[: len(objects.boxes)] = objects.boxes + random.integers(-1, 2, objects.boxes.shape)
        boxes = boxes.clip(0, [width, height] * 2)
        masks = np.zeros((6, *objects.size), np.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
            mask[top:bottom, left : right - 1] = 1
        labels = random.integers(1, 3, 6)
        labels[: len(objects.labels)] = objects.labels
        answers.append(answer(boxes.tolist(), (random.permutation(900)[:6] / 1000).tolist(), labels.tolist(), masks))
    metric = AveragePrecision(images.class_names, True)
    metric.add(answers, [o.to_compare() for o in images.labels])
    found = metric.compute()
    assert capsys.readouterr().out == ""

    ids = [objects.ids for objects in images.labels]
    write_results(zip(images.names, answers, ids, strict=True), tmp_path / "results.json", images.class_names)
    results = json.loads((tmp_path / "results.json").read_text())
    for result in results:
        if kind == "segm":
            del result["bbox"]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(tmp_path / "annotations.json")
        judge = COCOeval(coco, coco.loadRes(results), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    prefix = {"bbox": "", "segm": "mask_"}[kind]
    assert [found[f"{prefix}{name}"] for name in ("ap", "ap50", "ap75")] == pytest.approx(judge.stats[:3].tolist())
    assert 0.05 < judge.stats[0] < 0.95
    if kind == "bbox":
        assert found["ap_small"] == pytest.approx(judge.stats[3])

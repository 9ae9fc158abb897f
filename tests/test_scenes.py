import csv
import importlib.util
import itertools
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parent.parent / "examples" / "scenes.py"
TASKS = ("segmentation", "detection", "aesthetics", "counting")
SPLITS = ("train", "val", "test")


@pytest.fixture(scope="module")
def scenes():
    spec = importlib.util.spec_from_file_location("scenes", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each kind of data set, as a user makes it."""
    folder = tmp_path_factory.mktemp("scenes")

    def go(task, seed="3", name=None):
        out = folder / (name or task)
        if not out.exists():
            call(task, out, "--images", "40", "--size", "96", "--seed", seed)
        return out

    return go


def call(*words):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [str(SCRIPT), *map(str, words)])
        runpy.run_path(str(SCRIPT), run_name="__main__")


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def some_scenes(scenes, number=25):
    stock = scenes.Stock("train")
    for seed in range(number):
        yield scenes.make_scene(np.random.default_rng(seed), stock, (90, 134), [0.45, 0.3, 0.3, 0.2, 0.15])


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_files_and_another_seed_others(made, task):
    first, again, other = (
        content(made(task)),
        content(made(task, name=f"{task}2")),
        content(made(task, "4", task + "4")),
    )
    assert first == again
    assert first.keys() == other.keys()
    images = [name for name in first if name.endswith(".jpg")]
    assert all(first[name] != other[name] for name in images)
    assert len(images) == len({first[name] for name in images}) == 40


def test_what_no_object_touches_is_the_background_and_what_one_owns_is_not(scenes):
    owned = 0
    for scene in some_scenes(scenes):
        untouched = ~scene.touched
        assert (scene.image[untouched] == scene.background[untouched]).all()
        assert not (scene.owners > 0)[untouched].any()
        changed = (scene.image != scene.background).any(2)
        assert changed[scene.owners > 0].mean() > 0.98  # a colour may happen to be that of a pixel behind it
        owned += (scene.owners > 0).sum()
        rim = scene.touched & (scene.owners == 0)
        assert rim.sum() < 0.35 * scene.touched.sum()  # pixels of which objects cover less than half
    assert owned > 0


def test_every_object_is_seen_and_the_later_one_lies_above(scenes):
    hidden = 0
    for scene in some_scenes(scenes):
        assert set(np.unique(scene.owners)) == set(range(len(scene.kinds) + 1))
        for i, (x, y) in enumerate(scene.centres):
            ys, xs = np.nonzero(scene.owners == i + 1)
            if i == len(scene.kinds) - 1:  # the last one is whole
                assert abs((xs.min() + xs.max() + 1) / 2 / 134 - x) < 0.06
                assert abs((ys.min() + ys.max() + 1) / 2 / 90 - y) < 0.08
        hidden += len(scene.kinds) > 1
    assert hidden > 10


def test_outlines_cover_as_much_as_geometry_says(scenes):
    stock, random, side = scenes.Stock("train"), np.random.default_rng(0), 60
    r = side / 2 - 0.5
    areas = {"disc": np.pi, "square": 2, "triangle": 3 * 3**0.5 / 4, "ring": np.pi * 3 / 4}
    areas["star"] = 10 * 0.5 * 0.45 * np.sin(np.pi / 5)  # ten triangles between radii 1 and 0.45
    for name, area in areas.items():
        cover = stock.outline(random, scenes.CLASSES.index(name), side)
        assert cover.sum() == pytest.approx(area * r * r, rel=0.04), name
        assert ((cover > 0) & (cover < 1)).any()  # smooth at the edge
    for name in scenes.DIGITS:
        assert 0.1 < stock.outline(random, scenes.CLASSES.index(name), side).mean() < 0.6


def test_splits_share_no_part_of_a_photograph_and_no_digit(scenes):
    for a, b in itertools.combinations(SPLITS, 2):
        for name in scenes.PHOTOGRAPHS[a].keys() & scenes.PHOTOGRAPHS[b].keys():
            (start, end), (other_start, other_end) = scenes.PHOTOGRAPHS[a][name], scenes.PHOTOGRAPHS[b][name]
            assert end <= other_start or other_end <= start
    digits = [{d.tobytes() for many in scenes.Stock(s).digits.values() for d in many} for s in SPLITS]
    assert all(len(many) > 100 for many in digits)
    assert len(set.union(*digits)) == sum(map(len, digits))


def test_a_background_is_cut_from_the_split_s_part_alone_and_never_stretched(scenes):
    ys, xs = np.mgrid[:100, :400]
    ramp = Image.fromarray(np.stack([xs * 255 / 399, ys * 255 / 99, 0 * xs], 2).astype(np.uint8))
    stock = scenes.Stock("val")
    stock.photographs = [ramp.crop((200, 0, 400, 100))]
    for seed in range(20):
        piece = stock.background(np.random.default_rng(seed), 40, 60).astype(float)
        assert piece[..., 0].min() > 120  # the right half is brighter
        wide = np.ptp(piece[..., 0]) / 255 * 399
        high = np.ptp(piece[..., 1]) / 255 * 99
        assert wide / high == pytest.approx(1.5, rel=0.1)


def test_each_split_has_photographs_where_only_scikit_learn_is_installed(scenes, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [len(scenes.Stock(split).photographs) for split in SPLITS] == [1, 1, 1]


def test_masks_name_the_classes_of_the_list(made):
    out = made("segmentation")
    classes = (out / "classes.txt").read_text().splitlines()
    assert classes[0] == "background"
    seen = set()
    for split, number in zip(SPLITS, (28, 6, 6), strict=True):
        images, masks = sorted((out / split / "images").iterdir()), sorted((out / split / "masks").iterdir())
        assert [p.stem for p in images] == [p.stem for p in masks]
        assert len(images) == number
        for image, mask in zip(images, masks, strict=True):
            values = np.asarray(Image.open(mask))
            assert values.shape == (96, 96) == np.asarray(Image.open(image)).shape[:2]
            assert 0.01 < (values > 0).mean() < 0.8
            seen |= set(np.unique(values).tolist())
    assert seen == set(range(len(classes)))


def runs(counts):
    return np.repeat(np.arange(len(counts)) % 2, counts)


def test_detection_and_segmentation_of_a_seed_agree_where_both_have_objects(made):
    boxes, masks = made("detection"), made("segmentation")
    found = json.loads((boxes / "annotations" / "instances_train.json").read_text())
    drawn = {image["id"]: np.zeros((96, 96), np.uint8) for image in found["images"]}
    for shape in found["annotations"]:
        mask = runs(shape["segmentation"]["counts"]).reshape(96, 96).T  # column by column
        assert mask.sum() == shape["area"]
        left, top, width, height = shape["bbox"]
        inside = mask[top : top + height, left : left + width]
        assert inside.sum() == mask.sum()
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        assert not drawn[shape["image_id"]][mask == 1].any()  # visible parts do not overlap
        drawn[shape["image_id"]][mask == 1] = shape["category_id"]
    compared = empty = 0
    for image in found["images"]:
        png = masks / "train" / "masks" / f"{Path(image['file_name']).stem}.png"
        if drawn[image["id"]].any():
            assert (boxes / "train" / image["file_name"]).is_file()
            compared += (drawn[image["id"]] == np.asarray(Image.open(png))).all()
        else:
            empty += 1
    assert 0 < empty < 10
    assert compared == 28 - empty


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:pycocotools")  # of its decode
def test_the_coco_files_load_in_pycocotools(made, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="needs pycocotools")
    for split in SPLITS:
        data = coco.COCO(str(made("detection") / "annotations" / f"instances_{split}.json"))
        for shape in data.loadAnns(data.getAnnIds()):
            assert data.annToMask(shape).sum() == shape["area"]
            assert data.annToMask(shape).shape == (96, 96)
    capsys.readouterr()


def test_the_runs_of_a_mask_that_starts_with_the_object_start_with_none(scenes):
    mask = np.array([[1, 0, 1], [1, 0, 0]], bool)
    assert scenes.coco_shape(mask) == {
        "bbox": [0, 0, 3, 2],
        "area": 3,
        "iscrowd": 0,
        "segmentation": {"size": [2, 3], "counts": [0, 2, 2, 1, 1]},
    }


def test_scores_follow_from_the_pictures(made):
    out = made("aesthetics")
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [row["split"] for row in rows] == ["train"] * 28 + ["val"] * 6 + ["test"] * 6
    votes = np.array([[int(row[str(i)]) for i in range(1, 11)] for row in rows])
    assert (votes.sum(1) == 200).all()
    images = [np.asarray(Image.open(out / "images" / row["image"]).convert("L"), float) for row in rows]
    assert len({image.shape for image in images}) > 15  # of many shapes
    sharp = np.array([np.abs(np.diff(image)).max() for image in images])
    means = votes @ np.arange(1, 11) / 200
    assert np.corrcoef(sharp, means)[0, 1] > 0.3
    assert means.std() > 0.8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "3"], "20 images and 32 pixels are the least"),
        (["--size", "31"], "20 images and 32 pixels are the least"),
        ([], "is there already: remove it, or choose another name"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_written(tmp_path, capsys, words, said):
    out = tmp_path / "out"
    if not words:
        out.mkdir()
        (out / "mine.txt").write_text("old")
    with pytest.raises(SystemExit):
        call("counting", out, *words)
    assert said in capsys.readouterr().err
    assert not out.exists() or [p.name for p in out.iterdir()] == ["mine.txt"]


def test_counts_are_those_of_the_boxes_of_the_same_seed(made):
    rows = list(csv.DictReader((made("counting") / "counts.csv").read_text().splitlines()))
    for split in SPLITS:
        found = json.loads((made("detection") / "annotations" / f"instances_{split}.json").read_text())
        boxes = [sum(a["image_id"] == image["id"] for a in found["annotations"]) for image in found["images"]]
        assert [int(row["count"]) for row in rows if row["split"] == split] == boxes


def test_colourfulness_is_none_in_grey_and_most_in_loud_colours(scenes):
    grey = np.full((8, 6, 3), 90, np.uint8)
    loud = grey.copy()
    loud[:4], loud[4:] = (255, 0, 0), (0, 0, 255)
    assert scenes.colourfulness(grey) == 0
    assert scenes.colourfulness(loud) == 1
    a, b = np.array([255, 0]), np.array([127.5, -255])  # by the definition, of one of each
    slow = np.hypot(a.std(), b.std()) + 0.3 * np.hypot(a.mean(), b.mean())
    assert slow > 100
    assert 0 < scenes.colourfulness((loud // 4).astype(np.uint8)) == pytest.approx(slow / 400, rel=0.02)

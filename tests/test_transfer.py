"""The transfer benchmark's own logic: who sees which images, and what is measured again."""

import dataclasses
import gzip
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from torch import nn

pytest.importorskip("skimage", reason="the transfer sets need scikit-image: pip install 'maxvit[dev]'")
BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sets():
    return script("transfer_sets")


@pytest.fixture(scope="module")
def transfer(sets):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield script("transfer")


def drawing(shape, colour="red"):
    """Something that has a left and a right."""
    picture = Image.new("RGB", (96, 96), "white")
    pen = ImageDraw.Draw(picture)
    if shape == "flag":
        pen.rectangle((20, 10, 26, 90), fill="black")
        pen.rectangle((26, 10, 80, 40), fill=colour)
    else:
        pen.ellipse((10, 50, 90, 90), fill=colour)
        pen.rectangle((60, 5, 90, 30), fill="black")
    return np.asarray(picture)


def noisy(picture):
    noise = np.random.default_rng(0).integers(-9, 10, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "copy",
    [
        drawing("flag"),
        drawing("flag", "brown"),
        drawing("flag")[:, ::-1],
        np.roll(drawing("flag"), 1, 0),
        noisy(drawing("flag")),
    ],
    ids=["copy", "other colour", "mirrored", "moved", "noisy"],
)
def test_a_near_copy_has_the_group_of_the_first_and_another_drawing_has_not(sets, copy):
    flag, other, again = sets.near_copies([drawing("flag"), drawing("boat"), copy])
    assert flag == again
    assert flag != other


def test_copies_of_copies_are_one_group(sets, monkeypatch):
    hashes = np.packbits(np.tri(64, k=-1, dtype=np.uint8)[::5][:6], axis=1)  # each 5 bits from the one before
    far = ~hashes[:1]
    monkeypatch.setattr(sets, "_hash", lambda picture: np.concatenate([hashes, far])[picture[0, 0]])
    groups = sets.near_copies([np.full((1, 1), i) for i in range(7)])
    assert len(set(groups[:6])) == 1
    assert groups[6] != groups[0]


def test_one_image_of_a_group_is_kept_and_none_of_two_categories(sets):
    groups = [4, 4, 1, 2, 2, 1, 0]
    categories = ["food", "food", "tools", "food", "tools", "tools", "tools"]
    assert sets.distinct(groups, categories) == [0, 2, 6]


def pixels(images):
    return [image.tobytes() for image in images.sources]


@pytest.fixture
def packages(sets, tmp_path, monkeypatch):
    """Small ones in place of Debian's: every image is another, but that one drawing is in both categories."""
    clothes = tmp_path / "dataset-fashion-mnist/usr/share/datasets/fashion-mnist"
    clothes.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, number in (("train", 200), ("t10k", 50)):
        images, labels = random.integers(256, size=(number, 28, 28), dtype=np.uint8), np.arange(number) % 10
        (clothes / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + images.tobytes()))
        labels = gzip.compress(bytes(8) + labels.astype(np.uint8).tobytes())
        (clothes / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)
    for category in ("boats", "flags", "unsorted"):
        folder = tmp_path / f"openclipart-png/usr/share/openclipart/png/{category}/more"
        folder.mkdir(parents=True)
        Image.fromarray(drawing("flag")).save(folder / "shared.png")
        for i in range(60):
            coarse = Image.fromarray(random.integers(256, size=(8, 8, 3), dtype=np.uint8))
            coarse.resize((64, 48)).save(folder / f"{i}.png")
    monkeypatch.setattr(sets, "TESTED", 30)
    monkeypatch.setattr(sets, "ENOUGH", 55)
    return tmp_path


@pytest.mark.parametrize("name", ["photograph crops, 32", "digits, 10", "clothes, 10", "clip art, 20"])
def test_a_set_is_the_same_for_the_same_seed_and_tests_on_nothing_that_was_learned(sets, packages, name):
    chosen = dataclasses.replace(sets.SETS[name], per_class=7)
    (train, test), again = (sets.draw(chosen, packages, seed=1) for _ in range(2))
    assert [pixels(part) for part in again] == [pixels(train), pixels(test)]
    assert pixels(sets.draw(chosen, packages, seed=2)[0]) != pixels(train)
    assert not set(pixels(train)) & set(pixels(test))
    assert Counter(train.labels) == dict.fromkeys(range(len(train.class_names)), 7)
    assert set(test.labels) == set(train.labels)


def test_what_two_categories_share_is_in_neither(sets, packages):
    train, test = sets.draw(dataclasses.replace(sets.SETS["clip art, 20"], per_class=99), packages, seed=0)
    assert train.class_names == ["boats", "flags"]
    assert sets.on_square(Image.fromarray(drawing("flag"))).tobytes() not in pixels(train) + pixels(test)


def test_fewer_images_are_some_of_more_and_are_tested_on_the_same(sets):
    few, many = (sets.draw(sets.SETS[name], Path(), seed=1) for name in ("digits, 10", "digits, 100"))
    assert set(pixels(few[0])) < set(pixels(many[0]))
    assert pixels(few[1]) == pixels(many[1])


@pytest.fixture
def measured(transfer, tmp_path, monkeypatch):
    """Runs the script with methods that only note what they are given."""
    seen = []

    def note(of):
        seen.append((of.chosen, of.seed, tuple(pixels(of.train)), tuple(pixels(of.test))))
        return 0.5 + 0.01 * of.seed

    for name, method in transfer.METHODS.items():
        monkeypatch.setitem(transfer.METHODS, name, dataclasses.replace(method, measure=note))
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")

    def run(sets=("digits, 10", "digits, 100")):
        seen.clear()
        arguments = ["--weights", str(weights), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "record")]
        transfer.main([*arguments, "--sets", *sets, "--seeds", "2"])
        return list(seen)

    run.weights = weights
    return run


def test_every_method_sees_the_same_images(measured):
    seen = measured()
    assert len(seen) == 2 * 2 * 5
    assert len(set(seen)) == 2 * 2


def test_what_is_measured_is_not_measured_again_unless_what_it_depends_on_is_another(transfer, measured, monkeypatch):
    everything = len(measured())
    assert measured() == []
    measured.weights.write_bytes(b"another")
    assert len(measured()) == everything * 2 // 5  # two methods of five
    monkeypatch.setattr(transfer, "UPDATES", 7)
    assert len(measured()) == everything * 3 // 5


def test_gains_are_those_of_the_same_seed(transfer):
    of_set = {"new": [0.9, 0.7], "old": [0.8, 0.5]}
    assert transfer.gain(of_set, "new", "old") == pytest.approx([0.1, 0.2])
    assert transfer.spread([0.1, 0.2], "+") == "+15.0 ± 7.1"


def test_a_network_is_trained_for_as_many_updates_as_are_asked_for(sets, transfer, tmp_path):
    chosen = dataclasses.replace(sets.SETS["digits, 10"], per_class=7)  # 70 images: 3 updates an epoch
    of = transfer.Drawn(*sets.draw(chosen, tmp_path, 0), chosen, 0, tmp_path)
    for make in (transfer.make_network, transfer.Peer):
        recipe = transfer.recipe_for(of, side=64)
        network = make(recipe, of.train.class_names)
        learned = transfer.learn(recipe, network, of.train, updates=4)
        assert {int(m.num_batches_tracked) for m in learned.modules() if isinstance(m, nn.BatchNorm2d)} == {4}
        assert 0 <= transfer.accuracy(learned, of.test.subset(range(3))) <= 1


@pytest.mark.full
def test_masked_pre_training_is_measured_once(transfer, packages, monkeypatch):
    masked = script("masked")
    monkeypatch.setattr(masked, "UPDATES", {2: 2})
    monkeypatch.setattr(masked, "GOALS", {2: "+5"})
    sizes = ["--epochs", "1", "--seeds", "2", "--pictures", "40"]
    for _ in range(2):
        masked.main(["--work", str(packages), "--out", str(packages / "record"), *sizes])
        monkeypatch.setattr(masked, "fine_tune", None)
    assert len((packages / "cells.jsonl").read_text().splitlines()) == 3 * 2
    rows = [row for row in (packages / "record.md").read_text().splitlines() if row.startswith("| 2 |")]
    assert len(rows) == 2  # labels a class, and of the first verdict

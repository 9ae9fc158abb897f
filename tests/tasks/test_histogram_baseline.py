"""The histogram of colours and edges that a trained classifier is compared with."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from maxvit.config import Preprocessing
from maxvit.data.dataset import LabelledImages
from maxvit.tasks import make_task

SPEC = Preprocessing()


def images(draw, classes=2, number=12, seed=0):
    """`number` images (50, 40, 3) of each class, as `draw(class, random numbers)` gives them."""
    random = np.random.default_rng(seed)
    labels = [label for label in range(classes) for _ in range(number)]
    pixels = [np.clip(draw(label, random), 0, 255).astype(np.uint8) for label in labels]
    names = [f"image {i}" for i in range(len(labels))]
    return LabelledImages(pixels, labels, [f"class {i}" for i in range(classes)], names)


def coloured(label, random):
    """Red or blue, with noise."""
    return random.normal(0, 20, (50, 40, 3)) + ((200, 60, 60), (60, 60, 200), (60, 200, 60))[label]


def striped(label, random):
    """Stripes down or across, of random colours."""
    wave = 60 * np.sin(np.arange(50)[:, None] if label else np.arange(40)[None, :])
    return np.broadcast_to(wave, (50, 40))[..., None] + random.integers(60, 196, 3)


def baseline(train, test=None, **settings):
    task = make_task({"name": "classification", **settings})
    return task.baseline(train, test or train, SPEC)


@pytest.mark.parametrize("draw", [coloured, striped])
def test_it_tells_colours_apart_and_edges(draw):
    found = baseline(images(draw), images(draw, seed=1))
    assert (found.metric, found.value) == ("accuracy", 1)


def test_it_learns_from_the_images_of_training_alone():
    other_way_round = images(lambda label, random: coloured(1 - label, random), seed=1)
    assert baseline(images(coloured), other_way_round).value == 0


def test_images_that_cannot_be_read_do_not_count():
    test = images(coloured, number=2, seed=1)
    test = dataclasses.replace(test, sources=[test.sources[0], b"not an image", *test.sources[2:]])
    assert baseline(images(coloured), test).value == 1


def test_there_is_none_of_one_class():
    assert baseline(images(coloured, classes=1)) is None


def test_there_is_none_where_images_have_several_labels():
    there = np.eye(2, dtype=bool)[images(coloured).labels]
    assert baseline(dataclasses.replace(images(coloured), labels=there), loss="sigmoid") is None
    assert baseline(dataclasses.replace(images(coloured), labels=there.astype(np.float32))) is None  # shares


def test_there_is_none_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    assert baseline(images(coloured)) is None


def test_it_leaves_the_random_numbers_of_training_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    baseline(images(coloured))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()

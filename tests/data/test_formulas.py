"""Images drawn from formulas: functions of (seed, class, index), whose classes can be told apart."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from maxvit import MaxViTError
from maxvit.data.builtin import load_builtin, load_builtin_eval
from maxvit.data.formulas.families import FAMILIES
from maxvit.data.formulas.source import Drawings, read_address
from maxvit.tasks import make_task

EVERY = "+".join(FAMILIES)
SMALL = f"formulas:classes={2 * len(FAMILIES)},images=5,size=32,families={EVERY}"


def digest(images) -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()


def test_another_process_draws_the_same():
    code = (
        "import hashlib; from maxvit.data.builtin import load_builtin\n"
        f"images = load_builtin({SMALL!r}, 0.2).train.sources\n"
        "print(hashlib.sha256(b''.join(image.tobytes() for image in images)).hexdigest())"
    )
    theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert theirs == digest(load_builtin(SMALL, 0.2).train.sources)


def test_an_image_does_not_depend_on_what_was_drawn_before():
    images, others = load_builtin(SMALL, 0.2).train.sources, load_builtin(SMALL, 0.2).train.sources
    forwards = [images[i] for i in range(len(images))]
    backwards = [others[i] for i in reversed(range(len(others)))][::-1]
    np.testing.assert_array_equal(forwards, backwards)


@pytest.mark.parametrize("other", ["formulas:classes=10,images=9,size=32", "formulas:classes=40,images=5,size=32"])
def test_more_classes_or_images_leave_the_others_as_they_are(other):
    few, many = (Drawings(read_address(place), range(5)) for place in ("formulas:classes=10,images=5,size=32", other))
    np.testing.assert_array_equal(few[23], many[23])


@pytest.mark.parametrize("family", FAMILIES)
def test_seed_class_and_index_each_make_another_image(family):
    first, second = (
        Drawings(read_address(f"formulas:classes=2,images=2,size=37,families={family},seed={seed}"), range(2))
        for seed in (0, 1)
    )
    images = [first[0], first[1], first[2], second[0]]
    assert {(image.shape, image.dtype) for image in images} == {((37, 37, 3), np.dtype(np.uint8))}
    assert len({image.tobytes() for image in images}) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_hardly_an_image_is_empty(family):
    images = Drawings(read_address(f"formulas:classes=20,images=5,size=32,families={family}"), range(5))
    seen = [np.ptp(image.reshape(-1, 3).astype(int), axis=0).max() > 40 for image in images]
    assert np.mean(seen) > 0.9


def test_images_of_one_class_are_more_alike_than_those_of_two():
    """By their colours where the class has some: half of the classes do."""
    images = Drawings(read_address("formulas:classes=40,images=12,size=32,families=waves"), range(12))
    colours = np.array([image.reshape(-1, 3).mean(0) for image in images]).reshape(40, 12, 3)
    within, between = colours.std(1).mean(1), colours.mean(1).std(0).mean()
    assert 10 <= np.sum(within < between / 2) <= 30


def test_parts_share_no_image_and_are_all_of_them():
    data, everything = load_builtin(SMALL, 0.4), load_builtin_eval(SMALL)
    assert (len(data.train), len(data.val), data.test) == (42, 28, None)
    assert sorted([*data.train.names, *data.val.names]) == sorted(everything.names)
    assert len(set(everything.names)) == 70
    named = {name: image.tobytes() for name, image in zip(everything.names, everything.sources, strict=True)}
    for part in (data.train, data.val):
        for name, image, label in zip(part.names, part.sources, part.labels, strict=True):
            assert named[name] == image.tobytes()
            assert name.rpartition(",")[0] == part.class_names[label]


def test_families_take_turns():
    names = load_builtin("formulas:classes=5,images=2,families=waves+atoms", 0.5).train.class_names
    assert names == ["waves 0", "atoms 0", "waves 1", "atoms 1", "waves 2"]


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_each_class_is_in_both_parts(fraction):
    data = load_builtin("formulas:classes=3,images=4", fraction)
    assert set(data.train.labels) == set(data.val.labels) == {0, 1, 2}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("formulas:classes=0", "classes is 0, and at least 1 are needed"),
        ("formulas:images=1", "images is 1, and at least 2 are needed"),
        ("formulas:size=16", "size is 16, and at least 32 are needed"),
        ("formulas:classes=-3", "classes is '-3', and a whole number is wanted"),
        ("formulas:classes=many", "classes is 'many', and a whole number is wanted"),
        ("formulas:classes", "classes is '', and a whole number is wanted"),
        ("formulas:clases=3", "unknown setting of formulas 'clases': did you mean 'classes'"),
        ("formulas:families=", "no family is named; known are atoms"),
        ("formulas:families=wave", "unknown family of formulas 'wave': did you mean 'waves'"),
        ("formulas:families=waves+waves", "one of them twice"),
    ],
)
def test_what_cannot_be_drawn_is_said(place, message):
    with pytest.raises(MaxViTError, match=message):
        make_task({"name": "classification"}).load(place, 0.2, 0)

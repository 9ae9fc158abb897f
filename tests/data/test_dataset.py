"""Splits keep the proportions, lose no image, and are the same for the same seed."""

from collections import Counter

import numpy as np
import pytest

from maxvit.data.dataset import LabelledImages, describe, split
from maxvit.errors import MaxViTError


def images(*counts):
    labels = [c for c, n in enumerate(counts) for _ in range(n)]
    labels = [labels[i] for i in np.random.default_rng(0).permutation(len(labels))]
    names = [f"image {i}" for i in range(len(labels))]
    return LabelledImages([f"{name}.png" for name in names], labels, list("abcdefg"[: len(counts)]), names)


def test_a_subset_keeps_each_image_with_its_label_and_name():
    everything = images(3, 5, 7)
    part = everything.subset([11, 2, 7])
    assert len(part) == 3
    assert part.class_names == ["a", "b", "c"]
    for position, i in enumerate([11, 2, 7]):
        assert part.sources[position] == everything.sources[i]
        assert part.labels[position] == everything.labels[i]
        assert part.names[position] == everything.names[i]


@pytest.mark.parametrize("held_out", [0.2, 30, 0.5, 75])
def test_a_split_is_in_proportion_and_loses_no_image(held_out):
    kept, out = split(images(30, 50, 70), held_out, seed=3)
    assert sorted([*kept.names, *out.names]) == sorted(images(30, 50, 70).names)
    assert len(out) == (held_out if isinstance(held_out, int) else 150 * held_out)
    share = len(out) / 150
    assert Counter(out.labels) == {0: 30 * share, 1: 50 * share, 2: 70 * share}


def test_labels_stay_with_their_images():
    everything = images(30, 50, 70)
    truth = dict(zip(everything.names, everything.labels, strict=True))
    for part in split(everything, 0.2, seed=3):
        assert [truth[name] for name in part.names] == part.labels
        assert [f"{name}.png" for name in part.names] == part.sources


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split(images(30, 50, 70), 0.2, seed) for seed in (3, 3, 4))
    assert first == again
    assert set(first[1].names) != set(other[1].names)


@pytest.mark.parametrize(
    ("counts", "held_out"), [((98, 2), 0.2), ((98, 2), 0.9), ((2, 2, 2), 0.01), ((2, 2, 2), 100), ((53, 2, 2, 2), 3)]
)
def test_every_class_is_on_both_sides_however_rare(counts, held_out):
    for seed in range(5):
        for part in split(images(*counts), held_out, seed):
            assert set(part.labels) == set(range(len(counts)))


def test_a_class_with_one_image_is_named():
    with pytest.raises(MaxViTError, match="class 'b' has a single image; give at least two"):
        split(images(5, 1, 7), 0.2, seed=0)


def test_one_image_of_one_class_is_said_so():
    assert describe(LabelledImages([""], [0], ["cat"], ["a.png"])) == "data: 1 image of 1 class"

"""The digits that need no download are scikit-learn's, and the test images are those that others report on."""

import numpy as np
import pytest
from sklearn import datasets
from sklearn.model_selection import train_test_split

from maxvit.data.builtin import load_digits


@pytest.fixture(scope="module")
def splits():
    return load_digits()


def test_the_sizes_are_1293_144_and_360(splits):
    assert (len(splits.train), len(splits.val), len(splits.test)) == (1293, 144, 360)


def test_the_test_images_are_those_of_the_plain_scikit_learn_split(splits):
    data = datasets.load_digits()
    _, wanted = train_test_split(range(1797), test_size=360, stratify=data.target, random_state=0)
    assert list(splits.test.names) == [f"digit {i}" for i in wanted]
    assert list(splits.test.labels) == data.target[wanted].tolist()


def test_no_image_is_in_two_parts(splits):
    names = [*splits.train.names, *splits.val.names, *splits.test.names]
    assert sorted(names) == sorted(f"digit {i}" for i in range(1797))


def test_pixels_are_those_of_scikit_learn_from_0_to_255(splits):
    data = datasets.load_digits()
    for source, name in zip(splits.val.sources, splits.val.names, strict=True):
        original = data.images[int(name.split()[1])]  # 0 to 16
        assert source.dtype == np.uint8
        np.testing.assert_allclose(source, original * 255 / 16, atol=0.5)


def test_every_part_has_the_ten_classes_in_proportion(splits):
    for part in (splits.train, splits.val, splits.test):
        assert part.class_names == list("0123456789")
        counts = np.bincount(part.labels, minlength=10)
        assert np.ptp(counts) <= 0.06 * len(part) + 2  # the whole has 174 to 183 of each

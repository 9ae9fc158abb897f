"""Labels that look wrong, and images unlike others, on features whose truth is known."""

import numpy as np

from maxvit.checking.labels import find_suspicious
from maxvit.checking.neighbours import nearest
from maxvit.checking.outliers import find_outliers


def clouds(apart, number=60, classes=3):
    """Features around a centre for each class, and the classes."""
    labels = [i % classes for i in range(number)]
    random = np.random.default_rng(0)
    return (apart * np.eye(classes, 5)[labels] + random.normal(size=(number, 5))).astype(np.float32), labels


def test_wrong_labels_are_found_with_the_class_that_they_look_like():
    features, labels = clouds(apart=40)
    given = [*labels]
    given[7], given[20] = 2, 0  # they were 1 and 2
    found = find_suspicious(features, given)
    assert {(one.image, one.likely) for one in found} == {(7, 1), (20, 2)}
    assert all(one.likely_probability > 30 * one.given_probability for one in found)


def test_the_least_probable_label_comes_first():
    features, labels = clouds(apart=40)
    given = [*labels]
    given[7], given[20] = 2, 0
    own = [one.given_probability for one in find_suspicious(features, given)]
    assert own == sorted(own)


def test_classes_that_cannot_be_told_apart_are_not_suspicious():
    assert find_suspicious(*clouds(apart=0)) == []


def test_labels_keep_their_numbers_where_a_class_is_missing():
    features, labels = clouds(apart=40)
    given = [(3, 7, 8)[label] for label in labels]
    given[7] = 8
    assert [(one.image, one.likely) for one in find_suspicious(features, given)] == [(7, 7)]


def test_the_furthest_from_its_neighbours_comes_first_and_distances_are_those_of_all_pairs():
    features, _ = clouds(apart=0, number=230)
    features[17] += 30
    found = find_outliers(nearest(features, 5)[1])
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    slow = np.sort(apart, axis=1)[:, 1:6].mean(1)
    slow /= np.median(slow)
    assert [one.image for one in found] == np.argsort(-slow)[:3].tolist()
    assert found[0].image == 17
    np.testing.assert_allclose([one.distance for one in found], np.sort(slow)[::-1][:3], rtol=1e-3)


def test_of_few_images_none_is_unlike_the_others():
    assert find_outliers(nearest(clouds(apart=0, number=19)[0], 5)[1]) == []


def test_neighbours_are_those_of_all_pairs_however_many_are_compared_at_once(monkeypatch):
    monkeypatch.setattr("maxvit.checking.neighbours._BLOCK", 7)
    features, _ = clouds(apart=3, number=23)
    apart = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    indices, distances = nearest(features, 3)
    np.testing.assert_array_equal(indices, apart.argsort(1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(apart, 1)[:, :3], rtol=1e-3)

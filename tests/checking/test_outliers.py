"""Images unlike others, on features whose truth is known."""

import numpy as np

from clouds import clouds
from maxvit.checking.neighbours import nearest
from maxvit.checking.outliers import find_outliers


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

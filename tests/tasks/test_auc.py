"""The area under the ROC curve, beside scikit-learn's; how sure it is; and from counts."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from maxvit.tasks.classification.auc import ScoreCounts, areas, one_of_many


def drawn(random, images=211, classes=5, apart=1.5):
    """Probabilities that follow the labels, and the labels."""
    labels = random.integers(0, classes, images)
    scores = np.exp(random.normal(size=(images, classes)) + apart * np.eye(classes)[labels])
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32), labels


def test_areas_are_those_of_scikit_learn_also_where_scores_are_equal():
    scores, labels = drawn(np.random.default_rng(0))
    scores = scores.round(1)
    wanted = [roc_auc_score(labels == c, scores[:, c]) for c in range(5)]
    found = areas(scores, one_of_many(labels, 5))
    np.testing.assert_allclose(found.of_classes, wanted)
    assert found.mean == pytest.approx(np.mean(wanted))


def test_classes_that_no_image_shows_or_all_do_or_without_numbers_have_no_area():
    scores, labels = drawn(np.random.default_rng(0), classes=3)
    scores[7, 2] = np.nan
    truth = np.column_stack([one_of_many(labels, 3), np.zeros(211, bool), np.ones(211, bool)])
    found = areas(np.column_stack([scores, scores[:, :2]]), truth)
    assert np.isnan(found.of_classes).tolist() == [False, False, True, True, True]
    assert found.mean == found.of_classes[:2].mean()


def test_where_nothing_can_be_said_there_are_no_numbers():
    found = areas(np.zeros((3, 2)), np.zeros((3, 2), bool))
    assert np.isnan([found.mean, *found.interval]).all()


def test_the_interval_of_one_class_has_the_variance_of_delong():
    """Beside the definition: all pairs of an image of the class and another one."""
    scores, labels = drawn(np.random.default_rng(0), classes=2)
    positive, other = scores[labels == 1, 1], scores[labels == 0, 1]
    wins = (positive[:, None] > other).astype(float)
    variance = wins.mean(1).var(ddof=1) / len(positive) + wins.mean(0).var(ddof=1) / len(other)
    found = areas(scores[:, 1:], (labels == 1)[:, None])
    assert (found.added**2).sum() / 211**2 == pytest.approx(variance)
    low, high = found.interval
    assert high - low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.02)


def test_the_interval_of_several_classes_holds_the_true_area_in_95_of_100_cases():
    random = np.random.default_rng(0)
    scores, labels = drawn(random, 30_000)
    true = areas(scores, one_of_many(labels, 5)).mean
    intervals = [areas(s, one_of_many(of, 5)).interval for s, of in (drawn(random, 150) for _ in range(300))]
    assert 0.92 < np.mean([low <= true <= high for low, high in intervals]) < 0.98


def test_where_all_is_right_the_interval_is_not_a_point():
    low, high = areas(np.array([[0.9], [0.8], [0.1], [0.2]]), np.array([[True], [True], [False], [False]])).interval
    assert low < 0.6
    assert high == 1


@pytest.mark.parametrize("classes", [5, 3000])
def test_counts_of_scores_give_nearly_the_same(classes):
    scores, labels = drawn(np.random.default_rng(0), 500, classes, apart=3)
    counts = ScoreCounts(classes)
    for part in (slice(0, 211), slice(211, 500)):
        other = ScoreCounts(classes)
        other.add(scores[part], labels[part])
        counts.merge(other.state())
    assert counts.counts.nbytes <= 16 * 2**20
    assert counts.auc() == pytest.approx(areas(scores, one_of_many(labels, classes)).mean, abs=3e-4)


def test_probabilities_of_0_and_1_and_no_numbers_are_counted():
    counts = ScoreCounts(2)
    counts.add(np.array([[0, 1], [1, 0], [np.nan, np.nan]], np.float32), np.array([1, 0, 0]))
    assert counts.auc() == (0.75 + 1) / 2  # what is no number is as low as 0

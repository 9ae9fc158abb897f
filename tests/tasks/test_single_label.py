"""The metrics of a classifier, against values by hand and scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn import metrics

from maxvit.tasks.classification.single_label import CLASS_METRICS, SingleLabelMetric, class_counts, class_metrics

NAMES = ["ant", "bee", "cat"]


def answers(labels, probabilities, class_names=NAMES):
    labels, probabilities = np.array(labels), np.array(probabilities, np.float32)
    return SingleLabelMetric(class_names).with_images(labels, probabilities)


@pytest.fixture
def by_hand():
    """Right, right, wrong, wrong; the true class of the last comes last."""
    rows = [[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.8, 0.15, 0.05]]
    return answers([0, 1, 1, 2], rows)


def random_answers(n=211, classes=5):
    random = np.random.default_rng(0)
    labels = random.integers(0, classes - 1, n)  # the last class has no image
    scores = random.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    return answers(labels, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), list("abcde"))


def test_the_figures_are_those_by_hand(by_hand):
    assert by_hand.predictions.tolist() == [0, 1, 0, 0]
    assert by_hand.accuracy == 0.5
    assert [by_hand.top_k_accuracy(k) for k in (1, 2, 3, 5)] == [0.5, 0.75, 1.0, 1.0]
    assert by_hand.loss == pytest.approx(-np.log(0.7 * 0.6 * 0.4 * 0.05) / 4)
    assert by_hand.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]  # rows are the truth
    assert by_hand.rows() == [
        {"class": "ant", "images": 1, "precision": 1 / 3, "recall": 1.0, "f1": 0.5, "auc": pytest.approx(2 / 3)},
        {"class": "bee", "images": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "auc": 1.0},
        {"class": "cat", "images": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0, "auc": 0.0},
    ]


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_means_over_classes_are_those_of_scikit_learn():
    found = random_answers()
    assert class_metrics(*class_counts(found.labels, found.predictions)) == {
        "balanced_accuracy": pytest.approx(metrics.balanced_accuracy_score(found.labels, found.predictions)),
        "f1_macro": pytest.approx(metrics.f1_score(found.labels, found.predictions, average="macro")),
    }


def test_intervals_of_means_over_classes_hold_them_and_are_narrow():
    found = random_answers()
    for name in CLASS_METRICS:
        low, high = found.intervals()[name]
        assert low < found.compute()[name] < high < low + 0.2


def test_mistakes_come_with_the_most_confident_first(by_hand):
    assert by_hand.mistakes() == [3, 2]


def test_the_figures_are_those_of_scikit_learn():
    found = random_answers()
    labels, probabilities, classes = found.labels, found.probabilities.astype(np.float64), range(5)
    assert found.accuracy == metrics.accuracy_score(labels, found.predictions)
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, found.predictions, labels=classes))
    probabilities /= probabilities.sum(1, keepdims=True)
    assert found.loss == pytest.approx(metrics.log_loss(labels, probabilities, labels=classes), rel=1e-5)
    for k in (1, 2, 3):
        wanted = metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=classes)
        assert found.top_k_accuracy(k) == pytest.approx(wanted)
    wanted = metrics.precision_recall_fscore_support(labels, found.predictions, labels=classes, zero_division=0)
    rows = [(row["precision"], row["recall"], row["f1"], row["images"]) for row in found.rows()]
    np.testing.assert_allclose(rows, np.transpose(wanted))


def test_a_certain_mistake_has_a_finite_loss():
    assert answers([0], [[0.0, 1.0, 0.0]]).loss == pytest.approx(-np.log(1e-12))


def with_accuracy(right, n):
    return answers([0] * right + [1] * (n - right), [[1.0, 0.0, 0.0]] * n)


@pytest.mark.parametrize(("right", "n"), [(81, 263), (15, 148), (0, 20), (1, 29), (29, 29), (353, 360)])
def test_the_interval_is_wilson_s(right, n):
    """Both ends solve (share - p)^2 = z^2 p (1 - p) / n, the definition, whose closed form the code has."""
    low, high = with_accuracy(right, n).interval
    roots = np.roots([1 + 1.959964**2 / n, -(2 * right / n + 1.959964**2 / n), (right / n) ** 2])
    assert (low, high) == pytest.approx(tuple(sorted(roots.real)), abs=1e-7)


@pytest.mark.parametrize("k", [1, 2])
def test_the_interval_of_top_k_is_that_of_its_share(k):
    found = random_answers()
    hits = sum(found.labels[i] in np.argsort(row)[-k:] for i, row in enumerate(found.probabilities))
    assert found.top_k_interval(k) == with_accuracy(hits, 211).interval
    assert found.top_k_interval(1) == found.interval


@pytest.mark.parametrize(
    ("right", "n", "published"), [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))]
)
def test_the_interval_is_the_published_one(right, n, published):
    """Newcombe 1998, Statistics in Medicine 17, Table I, method 3 (score, no continuity correction)."""
    assert with_accuracy(right, n).interval == pytest.approx(published, abs=5e-5)


def test_the_interval_stays_within_0_and_1():
    for n in range(1, 100):
        assert 0.0 <= with_accuracy(0, n).interval[0] < 1e-12  # a page would print -0.0 %
        assert 1.0 >= with_accuracy(n, n).interval[1] > 1 - 1e-12


def test_metrics_and_intervals_go_by_the_same_names(by_hand):
    assert by_hand.compute() == {
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
        "f1_macro": pytest.approx(7 / 18),
        "auc": pytest.approx(5 / 9),
        "loss": by_hand.loss,
        "calibration_error": by_hand.calibration_error,
    }
    intervals = by_hand.intervals()
    assert {name: ends for name, ends in intervals.items() if name not in CLASS_METRICS} == {
        "accuracy": by_hand.interval,
        "auc": by_hand.areas.interval,
        "calibration_error": by_hand.calibration_interval(),
    }


def test_of_equal_probabilities_the_first_counts_and_what_is_not_a_number_counts_never():
    probabilities = np.array([[0.25, 0.25, 0.25, 0.25], [np.nan] * 4])
    for label, hits in ((1, 0.5), (2, 0.0)):
        assert answers(np.array([label, 0]), probabilities, list("abcd")).top_k_accuracy(2) == hits


@pytest.mark.parametrize("classes", [9, 10])
def test_the_first_five_are_measured_where_there_are_many_classes(classes):
    random = np.random.default_rng(0)
    found = answers(random.integers(0, classes, 31), random.random((31, classes)), [str(c) for c in range(classes)])
    assert ("top_5_accuracy" in found.compute()) == ("top_5_accuracy" in found.intervals()) == (classes == 10)


def test_what_processes_have_counted_is_put_together(by_hand):
    first, second = (SingleLabelMetric(NAMES) for _ in range(2))
    for metric, rows in ((first, slice(0, 1)), (second, slice(1, 4))):
        metric.add(list(torch.from_numpy(by_hand.probabilities[rows])), list(torch.from_numpy(by_hand.labels[rows])))
    first.merge(second.state())
    assert first.compute() == by_hand.compute()

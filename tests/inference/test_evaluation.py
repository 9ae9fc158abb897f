"""The figures of an evaluation, against values by hand and scikit-learn's; and several evaluations as one."""

import json
import pickle

import numpy as np
import pytest
from sklearn import metrics

from maxvit.errors import MaxViTError
from maxvit.inference.evaluation import Evaluation, average, merge

NAMES = ["ant", "bee", "cat"]


def answers(labels, probabilities, class_names=NAMES):
    labels, probabilities = np.array(labels), np.array(probabilities, np.float32)
    return Evaluation(class_names, labels, probabilities, np.arange(len(labels)), [])


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
    assert by_hand.per_class() == [
        {"name": "ant", "images": 1, "precision": 1 / 3, "recall": 1.0, "f1": 0.5},
        {"name": "bee", "images": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)},
        {"name": "cat", "images": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0},
    ]


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
    rows = [(row["precision"], row["recall"], row["f1"], row["images"]) for row in found.per_class()]
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


def test_the_figures_can_be_written_as_json(by_hand):
    figures = json.loads(json.dumps(by_hand.figures()))
    assert (figures["images"], figures["accuracy"], figures["top_5_accuracy"], figures["skipped"]) == (4, 0.5, 1.0, 0)
    assert figures["interval_95"] == list(by_hand.interval)
    assert figures["top_5_interval_95"] == list(by_hand.top_k_interval(5))
    assert figures["calibration_error"] == by_hand.calibration_error
    assert figures["calibration_interval_95"] == list(by_hand.calibration_interval())


def parts_of(whole, *rows, skipped=()):
    """A part for each list of rows."""
    return [
        Evaluation(
            whole.class_names,
            whole.labels[np.array(r, int)],
            whole.probabilities[np.array(r, int)],
            whole.indices[np.array(r, int)],
            list(skipped),
        )
        for r in rows
    ]


def same(a, b):
    assert a.class_names == b.class_names
    assert np.array_equal(a.labels, b.labels)
    assert np.array_equal(a.probabilities, b.probabilities)
    assert np.array_equal(a.indices, b.indices)


@pytest.mark.parametrize("rows", [[[0, 1, 2, 3]], [[1, 3], [0, 2]], [[3], [], [0, 1, 2]], [[2], [0], [3], [1]]])
def test_merged_parts_are_the_whole_in_the_order_of_the_images(by_hand, rows):
    parts = [pickle.loads(pickle.dumps(part)) for part in parts_of(by_hand, *rows)]  # as processes hand them over
    same(merge(parts), by_hand)


def test_merged_parts_keep_every_sentence_about_images_left_out(by_hand):
    assert merge(parts_of(by_hand, [0], [1], skipped=["a is damaged"])).skipped == ["a is damaged"] * 2


def test_an_image_in_two_parts_is_refused(by_hand):
    with pytest.raises(MaxViTError, match="image 2 is in two parts: give each image to one"):
        merge(parts_of(by_hand, [0, 2], [1, 2, 3]))


def test_parts_of_other_classes_are_refused(by_hand):
    other = answers([0], [[1.0, 0.0]], ["dog", "eel"])
    with pytest.raises(MaxViTError, match=r"parts have other classes \(ant, bee, cat and dog, eel\)"):
        merge([by_hand, other])


@pytest.mark.parametrize("rows", [[], [[]], [[], []]])
def test_nothing_to_merge_is_an_error(by_hand, rows):
    with pytest.raises(MaxViTError, match=f"none of the {len(rows)} parts holds an answer"):
        merge(parts_of(by_hand, *rows))


def test_nothing_to_merge_says_why_the_first_image_could_not_be_read(by_hand):
    with pytest.raises(MaxViTError, match="nothing to merge; the first: a is damaged"):
        merge(parts_of(by_hand, [], [], skipped=["a is damaged"]))


def test_the_average_is_the_mean_of_the_probabilities(by_hand):
    other = answers(by_hand.labels, [[0.1, 0.2, 0.7], [0.2, 0.6, 0.2], [0.1, 0.8, 0.1], [0.0, 0.05, 0.95]])
    together = average([by_hand, other])
    wanted = [[0.4, 0.2, 0.4], [0.15, 0.6, 0.25], [0.3, 0.6, 0.1], [0.4, 0.1, 0.5]]
    np.testing.assert_allclose(together.probabilities, wanted, atol=1e-7)
    assert together.predictions.tolist()[1:] == [1, 1, 2]
    assert np.array_equal(together.indices, by_hand.indices)


def test_the_average_of_one_is_itself(by_hand):
    same(average([by_hand]), by_hand)


def test_answers_for_different_images_have_no_average(by_hand):
    (part,) = parts_of(by_hand, [0, 1, 2])
    with pytest.raises(MaxViTError, match="the answers are for different images"):
        average([by_hand, part])

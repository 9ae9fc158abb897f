"""Average precision and F1 of several labels, beside scikit-learn's; and the threshold that is best for F1."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from maxvit.tasks.classification.multi_label import MultiLabelMetric, average_precisions, best_threshold

NAMES = ["ant", "bee", "cat", "dog", "eel"]


def answers_and_truths(n=43):
    """Probabilities of which many are equal, and labels that follow them loosely; no image shows an eel."""
    random = np.random.default_rng(0)
    answers = random.integers(0, 12, (n, 5)) / 11
    targets = random.random((n, 5)) < 0.2 + 0.6 * answers
    targets[:, 4] = False
    return answers.astype(np.float32), targets


def counted(answers, targets, threshold=None):
    metric = MultiLabelMetric(NAMES[: answers.shape[1]], threshold)
    metric.add(list(torch.from_numpy(answers)), list(torch.from_numpy(targets).float()))
    return metric


def test_figures_are_those_of_scikit_learn_over_the_classes_that_are_somewhere():
    answers, targets = answers_and_truths()
    found, some = counted(answers, targets, 0.3).compute(), slice(0, 4)
    aps = [average_precision_score(targets[:, c], answers[:, c]) for c in range(4)]
    assert found["mAP"] == pytest.approx(np.mean(aps))
    for at, suffix in ((0.3, ""), (0.5, "_at_0.5")):
        said = answers >= at
        assert found[f"f1_micro{suffix}"] == pytest.approx(f1_score(targets, said, average="micro"))
        assert found[f"f1_macro{suffix}"] == pytest.approx(f1_score(targets[:, some], said[:, some], average="macro"))
    assert found["threshold"] == 0.3


def test_each_class_has_a_row():
    answers, targets = answers_and_truths()
    row = counted(answers, targets, 0.3).rows()[1]
    said, true = answers[:, 1] >= 0.3, targets[:, 1]
    assert (row["class"], row["positives"]) == ("bee", true.sum())
    assert row["ap"] == pytest.approx(average_precision_score(true, answers[:, 1]))
    assert row["precision"] == pytest.approx((said & true).sum() / said.sum())
    assert row["recall"] == pytest.approx((said & true).sum() / true.sum())
    assert row["f1"] == pytest.approx(f1_score(true, said))


def test_an_image_may_count_several_times_or_not_at_all():
    answers, targets = answers_and_truths()
    weights = np.random.default_rng(1).integers(0, 4, (2, len(answers)))
    again = [np.repeat(np.arange(len(answers)), row) for row in weights]
    expected = [average_precisions(answers[rows], targets[rows]) for rows in again]
    np.testing.assert_allclose(average_precisions(answers, targets, weights.astype(float)), expected)


def test_no_other_threshold_is_better_on_the_images_that_chose_it():
    answers, targets = answers_and_truths()
    scores = {at: f1_score(targets, answers >= at, average="micro") for at in np.arange(0.005, 1, 0.01)}
    assert f1_score(targets, answers >= best_threshold(answers, targets), average="micro") == max(scores.values())


def test_a_threshold_keeps_away_from_the_probabilities_that_it_tells_apart():
    answers, targets = np.array([[0.97, 0.25], [0.04, 0.5]], np.float32), np.array([[True, False], [False, True]])
    assert best_threshold(answers, targets) == 0.375


def test_two_processes_count_as_one():
    answers, targets = answers_and_truths()
    first, second = counted(answers[:17], targets[:17]), counted(answers[17:], targets[17:])
    first.merge(second.state())
    assert first.compute() == counted(answers, targets).compute()


@pytest.mark.parametrize("answer", [0.4, float("nan")])
def test_where_nothing_can_be_said_figures_are_no_numbers_and_the_threshold_is_a_half(answer):
    targets = np.zeros((3, 1), bool) if answer == 0.4 else np.ones((3, 1), bool)
    found = counted(np.full((3, 1), answer, np.float32), targets).compute()
    assert np.isnan(found["mAP"])
    assert np.isnan(found["f1_micro"])
    assert found["threshold"] == 0.5


def test_intervals_are_the_quantiles_of_the_metrics_of_drawn_images():
    answers, targets = answers_and_truths()
    targets[:3, 4] = True  # so rare that some resamples lack it
    found, random = counted(answers, targets, 0.3).intervals(), np.random.default_rng(0)
    measured = []
    for _ in range(200):
        weights = random.multinomial(43, np.full(43, 1 / 43))
        rows = np.repeat(np.arange(43), weights)
        measured.append(counted(answers[rows], targets[rows], 0.3).compute())
    for name in ("mAP", "f1_micro", "f1_macro", "f1_micro_at_0.5", "f1_macro_at_0.5"):
        assert found[name] == pytest.approx(np.quantile([one[name] for one in measured], (0.025, 0.975)), rel=1e-5)
    assert list(found) == ["mAP", "f1_micro", "f1_macro", "f1_micro_at_0.5", "f1_macro_at_0.5", "auc"]

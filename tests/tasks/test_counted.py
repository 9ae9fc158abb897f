"""What validation measures by counting is what evaluation measures."""

import numpy as np
import pytest
import torch

from maxvit.tasks.classification.counted import CountedMetric
from maxvit.tasks.classification.single_label import SingleLabelMetric

NAMES = [f"class {i}" for i in range(11)]


def answers():
    """Probabilities of which some are equal, and classes; the last class has no image."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 211)
    scores = np.exp((random.normal(size=(211, 11)) + 1.5 * np.eye(11)[labels]).round(1))
    return torch.from_numpy((scores / scores.sum(1, keepdims=True)).astype(np.float32)), torch.from_numpy(labels)


def counted(metric, *batches):
    for probabilities, targets in batches:
        metric.add(list(probabilities), list(targets))
    return metric


def test_metrics_are_those_of_evaluation():
    found = counted(CountedMetric(NAMES), answers()).compute()
    wanted = counted(SingleLabelMetric(NAMES), answers()).compute()
    assert found == {name: pytest.approx(wanted[name], abs=1e-3 * (name == "auc")) for name in found}
    assert list(found) == ["accuracy", "top_5_accuracy", "balanced_accuracy", "f1_macro", "auc"]


def test_parts_of_several_processes_give_what_all_images_give():
    probabilities, labels = answers()
    whole, part = counted(CountedMetric(NAMES), answers()), CountedMetric(NAMES)
    for some in (slice(150, 211), slice(0, 7), slice(0, 0), slice(7, 150)):
        part.merge(counted(CountedMetric(NAMES), (probabilities[some], labels[some])).state())
    assert part.compute() == whole.compute()


def test_an_answer_that_is_no_number_is_wrong():
    probabilities, labels = answers()
    nothing = torch.full((1, 11), torch.nan), torch.tensor([0])
    metric = counted(CountedMetric(NAMES), (probabilities, labels))
    before, after = metric.compute(), counted(metric, nothing).compute()
    assert after["accuracy"] == pytest.approx(before["accuracy"] * 211 / 212)
    assert after["top_5_accuracy"] == pytest.approx(before["top_5_accuracy"] * 211 / 212)
    assert after["balanced_accuracy"] < before["balanced_accuracy"]


def test_of_shares_any_of_the_largest_is_right():
    shares = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
    probabilities = torch.tensor([[0.1, 0.9, 0.0], [0.5, 0.4, 0.1]])
    assert counted(CountedMetric(NAMES[:3]), (probabilities, shares)).compute()["accuracy"] == 0.5


def test_without_images_nothing_is_a_number():
    assert np.isnan(list(CountedMetric(NAMES).compute().values())).all()

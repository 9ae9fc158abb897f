"""What counts as the same answer."""

import numpy as np
import pytest

from contestants import COARSE, WRONG
from maxvit.benchmark.compare import Agreement, compare, why_refused

LOGITS = np.array([[0, 4, 0, 0], [0, 0, 4, 0]], np.float32)  # deviation sqrt(3)


def test_the_difference_is_the_largest_over_the_deviation_of_the_truth():
    given = LOGITS.copy()
    given[1, 0] = 0.3
    found = compare({"logits": given}, {"logits": LOGITS}, 2)
    assert found == Agreement(pytest.approx(0.3 / 3**0.5), 1.0, 2)


def test_top1_is_the_share_of_images_with_the_same_class():
    given = LOGITS.copy()
    given[1] = (9, 0, 4, 0)
    assert compare({"logits": given}, {"logits": LOGITS}, 2).top1 == 0.5


def test_a_first_batch_is_compared_with_the_first_of_more_images():
    assert compare({"logits": LOGITS[:1]}, {"logits": LOGITS}, 1) == Agreement(0.0, 1.0, 1)


def test_of_training_the_worse_of_loss_and_gradient_counts():
    truth = {"loss": np.array([2.0]), "gradient": np.array([[1.0, -1.0]])}
    assert compare({"loss": np.array([2.1]), "gradient": truth["gradient"]}, truth, 2).difference == pytest.approx(0.05)
    other = {"loss": truth["loss"], "gradient": np.array([[1.0, -0.5]])}
    assert compare(other, truth, 2) == Agreement(0.5, None, 2)


@pytest.mark.parametrize(
    ("difference", "what", "precision", "refused"),
    [
        (9e-5, "inference", "fp32", False),
        (2e-4, "inference", "fp32", True),
        (2e-4, "training", "fp32", False),
        (2e-3, "training", "fp32", True),
        (1e-1, "inference", "bf16", False),
        (float("nan"), "inference", "bf16", True),
    ],
)
def test_what_differs_more_than_rounding_is_refused(difference, what, precision, refused):
    assert bool(why_refused(Agreement(difference, None, 1), WRONG, what, precision)) == refused


def test_a_contender_that_may_differ_is_not_refused_for_it_unless_it_gives_no_numbers():
    assert why_refused(Agreement(0.5, 0.9, 32), COARSE, "inference", "fp32") is None
    assert "not finite" in why_refused(Agreement(float("nan"), 0.0, 32), COARSE, "inference", "fp32")


def test_an_answer_of_another_shape_is_refused():
    found = compare({"logits": LOGITS[:, :3]}, {"logits": LOGITS}, 2)
    assert "another shape" in why_refused(found, COARSE, "inference", "fp32")

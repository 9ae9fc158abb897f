"""Calibration against a loop over the definition, closed forms by hand, and what an interval promises."""

from math import sqrt

import numpy as np
import pytest

from maxvit.tasks.classification.calibration import bins, calibration_error, calibration_interval


def slow_error(confidences, right):
    """Guo et al. 2017, equation 3: bin m holds the confidences in ((m - 1) / 15, m / 15]."""
    error = 0.0
    for m in range(1, 16):
        inside = [i for i, c in enumerate(confidences) if (m - 1) / 15 < c <= m / 15]
        if inside:
            accuracy = sum(bool(right[i]) for i in inside) / len(inside)
            confidence = sum(float(confidences[i]) for i in inside) / len(inside)
            error += len(inside) / len(confidences) * abs(accuracy - confidence)
    return error


def random_answers(n, shift, seed=0):
    """Confidences, and answers that are right `shift` less often than they say."""
    random = np.random.default_rng(seed)
    confidences = random.beta(6, 1.5, n).astype(np.float32)
    return confidences, random.random(n) < np.clip(confidences - shift, 0, 1)


@pytest.mark.parametrize("n", [1, 2, 17, 499])
@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.1])
def test_the_error_is_that_of_the_definition(n, shift):
    given = random_answers(n, shift)
    assert calibration_error(*given) == pytest.approx(slow_error(*given), abs=1e-12)


def test_a_confidence_on_an_edge_belongs_below_it():
    edges = np.arange(1, 16) / 15
    assert [b.images for b in bins(edges, np.ones(15, bool))] == [1] * 15
    above = np.nextafter(edges[:-1], 1)
    assert [b.images for b in bins(above, np.ones(14, bool))] == [0] + [1] * 14
    assert calibration_error(edges, np.arange(15) % 2 == 0) == pytest.approx(
        slow_error(edges, np.arange(15) % 2 == 0), abs=1e-12
    )


def test_a_confidence_that_rounding_left_above_1_is_in_the_last_bin():
    assert bins(np.array([1.0000001]), np.array([True]))[-1].images == 1


def test_the_error_by_hand():
    """Bin 10, up to 2/3: 0.65 and 0.63, one right. Bin 15: 0.95, 0.97 and 0.99, two right."""
    confidences, right = np.array([0.65, 0.95, 0.63, 0.97, 0.99]), np.array([True, False, False, True, True])
    wanted = 2 / 5 * abs(1 / 2 - 0.64) + 3 / 5 * abs(2 / 3 - 0.97)
    assert calibration_error(confidences, right) == pytest.approx(wanted)


def test_deviations_of_two_bins_do_not_cancel():
    assert calibration_error(np.array([0.5, 0.9]), np.array([True, False])) == pytest.approx((0.5 + 0.9) / 2)


def test_the_bins_by_hand():
    found = bins(np.array([0.65, 0.63, 0.95], np.float32), np.array([True, False, True]))
    assert len(found) == 15
    assert (found[9].low, found[9].high) == (9 / 15, 10 / 15)
    assert (found[9].images, found[9].accuracy, found[9].confidence) == (2, 0.5, pytest.approx(0.64))
    assert (found[14].images, found[14].accuracy, found[14].confidence) == (1, 1.0, pytest.approx(0.95))
    assert [b.images for b in found] == [0] * 9 + [2] + [0] * 4 + [1]
    assert (found[0].accuracy, found[0].confidence) == (0.0, 0.0)


@pytest.mark.parametrize(("right", "confidence"), [(50, 0.9), (150, 0.5), (120, 0.95)])
def test_the_interval_of_a_single_bin_is_that_of_a_mean(right, confidence):
    """The error of one bin is |share - confidence|, and the share has the deviation sqrt(p (1 - p) / n)."""
    n = 200
    low, high = calibration_interval(np.full(n, confidence), np.arange(n) < right)
    error, half = abs(right / n - confidence), 1.96 * sqrt(right / n * (1 - right / n) / n)
    assert (low, high) == (pytest.approx(error - half, abs=0.012), pytest.approx(error + half, abs=0.012))


def test_answers_that_cannot_vary_have_an_interval_without_width():
    low, high = calibration_interval(np.full(7, 0.75), np.ones(7, bool))
    assert (low, high) == (pytest.approx(0.25), pytest.approx(0.25))


def test_the_interval_holds_the_true_error_about_as_often_as_it_says():
    """Where confidence is 0.1 too high: 0.1 it is; of 60 intervals of 95 %, at most 8 miss it (chance 0.3 %)."""
    intervals = [calibration_interval(*random_answers(400, 0.1, seed)) for seed in range(60)]
    assert sum(low <= 0.1 <= high for low, high in intervals) >= 52


def test_the_interval_is_the_same_each_time_and_another_seed_is_another():
    given = random_answers(97, 0.1)
    assert calibration_interval(*given) == calibration_interval(*given)
    assert calibration_interval(*given) != calibration_interval(*given, seed=1)


def test_the_interval_stays_within_0_and_1():
    for n in (1, 2, 3, 30):
        for confidence, right in ((1.0, 0), (1.0, n), (0.05, n), (0.5, n // 2)):
            low, high = calibration_interval(np.full(n, confidence), np.arange(n) < right)
            assert 0.0 <= low <= high <= 1.0

"""Medians, percentiles and paired ratios, against numbers worked out by hand."""

import pytest

from maxvit.benchmark.record import Spread, paired_ratio, spread


def test_spread_is_the_median_and_what_three_fifths_lie_between():
    assert spread([9, 1, 4, 6, 5, 2]) == Spread(4.5, 2.0, 6.0)  # sorted 1 2 4 5 6 9: positions 2.5, 1 and 4


def test_percentiles_between_two_values_are_interpolated():
    assert spread([10, 20]) == Spread(15, 12, 18)


def test_a_ratio_is_theirs_over_ours_of_the_same_round():
    # round by round 2, 3, 1.5; the ratio of the medians would be 4 / 2
    assert paired_ratio(ours=[1, 2, 4], theirs=[2, 6, 6]) == Spread(2.0, pytest.approx(1.7), pytest.approx(2.6))


def test_a_round_that_is_slow_for_both_changes_no_ratio():
    assert paired_ratio([1, 1, 50, 1], [3, 3, 150, 3]) == Spread(3, 3, 3)


def test_rounds_that_one_did_not_run_are_not_paired():
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1, 2, 3], [1, 2])

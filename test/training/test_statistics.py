"""Tests of differences, against tables and by hand."""

import numpy as np
import pytest

from cmdfusion_ros.training.statistics import (
    bootstrap_difference,
    holm,
    miou_of_counts,
    p_of_more,
    t_interval,
    t_quantile,
    t_tail,
)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (29, 2.045)]
)
def test_quantiles_are_those_of_the_tables(freedom, quantile):
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=1e-3)
    assert t_tail(quantile, freedom) == pytest.approx(0.025, abs=1e-4)
    assert t_tail(-quantile, freedom) == pytest.approx(0.975, abs=1e-4)


def test_two_standard_errors_of_three_seeds_are_no_proof():
    values = [0.0, 1.0, 2.0]  # mean 1, standard error 0.577
    values = [value + 2 * np.std(values, ddof=1) / np.sqrt(3) - 1 for value in values]
    assert np.mean(values) == pytest.approx(2 * np.std(values, ddof=1) / np.sqrt(3))
    assert 2 * p_of_more(values, 0.0) == pytest.approx(0.184, abs=1e-3)
    low, high = t_interval(values)
    assert low < 0 < high


def test_one_seed_says_nothing_and_equal_ones_everything():
    assert t_interval([1.0]) is None and p_of_more([1.0], 0.0) is None
    assert p_of_more([1.0, 1.0], 0.5) == 0.0 and p_of_more([1.0, 1.0], 1.0) == 1.0


def test_holm_raises_the_smallest_most_and_keeps_the_order():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    assert holm([]) == []


def test_mean_iou_of_counts_is_that_of_the_metric():
    counts = np.array([[[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0]]])
    # IoU 6 / 9 and 3 / 7; the third class has nothing
    assert miou_of_counts(counts, np.arange(3))[0] == pytest.approx((6 / 9 + 3 / 7) / 2)
    assert miou_of_counts(counts, np.array([1]))[0] == pytest.approx(3 / 7)
    assert miou_of_counts(counts, np.array([2]))[0] == 0.0


def test_a_difference_that_hangs_on_one_street_is_not_sure():
    right, wrong = np.array([[10, 0, 0], [0, 10, 0]]), np.array([[10, 0, 0], [10, 0, 0]])
    everywhere = np.stack([[right] * 8] * 2)
    nowhere = np.stack([[wrong] * 8] * 2)
    low, high = bootstrap_difference(everywhere, nowhere, np.arange(2), draws=200)
    assert low == high == pytest.approx(0.75)  # 1 against (1 / 2 + 0) / 2
    one = nowhere.copy()
    one[:, 3] = right
    low, high = bootstrap_difference(one, nowhere, np.arange(2), draws=200)
    assert low == 0.0 < high

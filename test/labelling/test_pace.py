"""`points.max_rate`: which clouds are let through, by their stamps."""

import numpy as np
import pytest

from cmdfusion_ros.labelling.job import Pace

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def passed(stamps, rate):
    pace = Pace()
    return [pace.passes(int(stamp), rate) for stamp in stamps]


def test_no_limit_lets_everything_through():
    assert all(passed([START, START, START + 1], 0.0))


@pytest.mark.parametrize(
    ("rate", "of"), [(10.0, 100), (5.0, 50), (3.0, 30), (20.0, 100), (1.0, 10)]
)
def test_of_ten_clouds_a_second_as_many_pass_as_are_allowed(rate, of):
    stamps = START + np.arange(100) * SECOND // 10
    assert sum(passed(stamps, rate)) == of


@pytest.mark.parametrize("rate", [1e-9, 1e-200, 5e-324])
def test_the_lowest_of_rates_lets_one_cloud_through(rate):
    assert passed(START + np.arange(5) * SECOND, rate) == [True] + 4 * [False]


def test_jitter_of_the_stamps_costs_no_cloud_that_is_due():
    rng = np.random.default_rng(0)
    stamps = START + np.arange(200) * SECOND // 10 + rng.integers(-2_000_000, 2_000_000, 200)
    assert sum(passed(stamps, 10.0)) == 200
    assert sum(passed(stamps, 5.0)) == 100


def test_after_a_pause_the_next_cloud_passes_and_no_burst_makes_up_for_it():
    first = START + np.arange(10) * SECOND // 10
    stamps = np.concatenate([first, first + 60 * SECOND])
    assert passed(stamps, 2.0) == 2 * ([True] + 4 * [False] + [True] + 4 * [False])


def test_time_that_begins_anew_lets_the_next_cloud_through():
    stamps = START + np.arange(10) * SECOND // 10
    assert passed([*stamps, stamps[0] - 5 * SECOND], 1.0)[-1]

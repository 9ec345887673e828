"""The learning rate: up in a straight line, down along a cosine, a function of the step alone."""

import pytest

from cmdfusion_ros.training.schedule import learning_rate_at


def test_it_rises_to_the_highest_and_falls_to_nearly_nothing():
    rates = [learning_rate_at(step, 100, 0.5, 0.2) for step in range(100)]
    assert rates[0] == pytest.approx(0.5 / 21) and rates[19] == pytest.approx(0.5 * 20 / 21)
    assert max(rates) == rates[20] == 0.5
    assert rates[60] == pytest.approx(0.25)
    assert 0 < rates[-1] < 0.001
    assert rates[:21] == sorted(rates[:21]) and rates[20:] == sorted(rates[20:], reverse=True)


def test_without_warm_up_it_starts_at_the_highest():
    assert learning_rate_at(0, 10, 0.1, 0.0) == 0.1

"""Offsets between clocks, from stamps: worked out by hand, also where nearest neighbours
mislead.
"""

import numpy as np
import pytest

from cmdfusion_ros.data.bags.camera_timing import camera_timing, period_of

MS = 1_000_000
CLOUDS = np.arange(0, 3000, 100, dtype=np.int64) * MS


def timing(offset, period=100, count=30, late=0, jitter=None):
    """Images `offset` ms from clouds that come every 100 ms, recorded `late` ms after their
    stamps; clouds are recorded at their stamps.
    """
    images = np.arange(count, dtype=np.int64) * period * MS + offset * MS
    images = images if jitter is None else images + (jitter * MS).astype(np.int64)
    return camera_timing(images, images + late * MS, CLOUDS, CLOUDS)


@pytest.mark.parametrize("offset", [-44, -20, 0, 1, 20, 44])
def test_the_offset_of_a_locked_camera_is_found(offset):
    found = timing(offset)
    assert (
        found.offset == pytest.approx(offset * MS, abs=100)
        and found.tolerance == pytest.approx(20 * MS, abs=100)
        and found.period == 100 * MS
    )


def test_from_045_of_a_period_on_the_earlier_image_is_meant():
    assert timing(47).offset == pytest.approx(-53 * MS, abs=100)


def test_the_lag_is_how_long_a_cloud_waits_for_its_image():
    assert timing(20, late=30).lag == pytest.approx(50 * MS, abs=100) and timing(
        -20, late=5
    ).lag == pytest.approx(-15 * MS, abs=100)


def test_jitter_widens_the_tolerance_until_the_camera_counts_as_free():
    rng = np.random.default_rng(0)
    shaky = timing(10, jitter=rng.normal(0, 8, 30))
    assert (
        shaky.offset == pytest.approx(10 * MS, abs=5 * MS) and 20 * MS < shaky.tolerance < 45 * MS
    )
    free = timing(10, jitter=rng.uniform(-50, 50, 30))
    assert free.offset == 0 and free.tolerance == pytest.approx(0.55 * free.period, rel=1e-6)


def test_a_slow_camera_serves_several_clouds_and_a_fast_one_is_locked():
    slow = timing(0, period=200, count=15)
    assert slow.offset == 0 and slow.tolerance == 110 * MS
    assert timing(5, period=50, count=60).offset == pytest.approx(5 * MS, abs=100)


def test_a_camera_that_starts_late_and_ends_early_is_judged_by_the_clouds_of_its_time():
    images = (
        np.arange(1000, 1500, 100, dtype=np.int64) * MS
        + 12 * MS
        + np.array([0, 1, -1, 1, 0]) * MS // 2
    )
    assert camera_timing(images, images, CLOUDS, CLOUDS).offset == pytest.approx(12 * MS, abs=MS)


def test_one_image_has_no_period():
    single = camera_timing(np.array([5 * MS]), np.array([5 * MS]), CLOUDS, CLOUDS)
    assert (single.period, single.offset, single.tolerance) == (0, 0, 50 * MS)
    assert period_of(np.array([], np.int64)) == 0

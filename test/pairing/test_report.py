"""The statistics of the synchroniser, by hand."""

import math

from cmdfusion_ros.pairing.report import LATENESS_BINS_MS, CameraTally, RecentValues

MS = 1_000_000


def test_of_no_samples_nothing_is_known():
    assert (
        math.isnan(RecentValues().mean)
        and math.isnan(RecentValues().quantile(0.5))
        and len(RecentValues()) == 0
    )


def test_quantiles_are_values_that_occurred():
    samples = RecentValues()
    for value in (5, 1, 4, 2, 3):
        samples.add(value)
    assert samples.mean == 3 and [
        samples.quantile(share) for share in (0.0, 0.2, 0.21, 0.5, 0.95, 1.0)
    ] == [1, 1, 2, 3, 5, 5]


def test_only_the_last_256_values_count():
    samples = RecentValues()
    for value in [1000] * 100 + [1] * 256:
        samples.add(value)
    assert len(samples) == 256 and samples.mean == 1


def test_late_images_fall_into_bins_with_inclusive_upper_edges():
    tally = CameraTally()
    for lateness in (*LATENESS_BINS_MS, 5.001, 9999):
        tally.add_late(round(lateness * MS))
    assert tally.lateness == [1, 2, 1, 1, 1, 1, 1, 1, 1] and tally.counts["late"] == 10


def test_nothing_is_suggested_from_a_handful_of_samples():
    tally = CameraTally()
    for _ in range(19):
        tally.add_match(0, 30 * MS)
        tally.raw_offset.add(-38 * MS)
    assert math.isnan(tally.suggested_max_wait) and math.isnan(
        tally.suggested_time_offset(100 * MS)
    )
    tally.add_match(0, 30 * MS)
    tally.raw_offset.add(-38 * MS)
    assert tally.suggested_max_wait == 30 * MS and tally.suggested_time_offset(100 * MS) == -38 * MS
    assert math.isnan(tally.suggested_time_offset(None))


def test_images_that_came_before_their_cloud_need_no_wait():
    tally = CameraTally()
    for _ in range(20):
        tally.add_match(0, -30 * MS)
    assert tally.suggested_max_wait == 0


def test_one_straggler_in_a_hundred_does_not_raise_the_suggested_wait():
    tally = CameraTally()
    for _ in range(99):
        tally.add_match(0, 30 * MS)
    tally.add_late(900 * MS)
    assert tally.suggested_max_wait == 30 * MS

"""R18: one wildly stamped cloud costs at most itself, and a new time line costs nothing."""

import dataclasses

import pytest
from builders.pairing_stories import cloud, settings, stream
from builders.simulated import BEGIN, MS, SECOND, Action, play


def told(played):
    """(stamps released, what was dropped, number of resets)."""
    report = played.pairing.report()
    assert report.received == report.released + report.pending + sum(report.dropped.values())
    stamps = [(paired.stamp - BEGIN) // MS for paired in played.clouds]
    return stamps, {name: n for name, n in report.dropped.items() if n}, report.epoch


REGULAR = [200 + 100 * index for index in range(40)]


@pytest.mark.parametrize("ahead", [450, 900, 1500, 3_600_000, 10**12])
def test_one_cloud_from_the_future_costs_itself_alone(ahead):
    wild = cloud(2050, 2000 + ahead, "wild")
    stamps, dropped, epoch = told(play(settings(), [*stream(None, 40), wild]))
    assert (stamps, dropped, epoch) == (REGULAR, {"wild_stamp": 1}, 0)


@pytest.mark.parametrize("behind", [1900, 3_600_000])
def test_one_cloud_from_the_past_costs_itself_alone(behind):
    wild = cloud(2050, 2000 - behind, "wild")
    stamps, dropped, epoch = told(play(settings(), [*stream(None, 40), wild]))
    assert (stamps, dropped, epoch) == (REGULAR, {"wild_stamp": 1}, 0)


def test_a_wild_cloud_every_now_and_then_costs_each_itself_alone():
    wild = [cloud(530 + 500 * i, [10**7, -(10**7), 10**9][i % 3], f"wild {i}") for i in range(6)]
    stamps, dropped, epoch = told(play(settings(), [*stream(None, 40), *wild]))
    assert (stamps, dropped, epoch) == (REGULAR, {"wild_stamp": 6}, 0)


def test_cameras_and_their_images_outlive_a_wild_cloud():
    regular = [*stream(None, 40), *stream("front", 40, latency=20)]
    with_wild = play(settings("front"), [*regular, cloud(2050, 10**9, "wild")])
    alone = play(settings("front"), regular)
    assert [p.images for p in with_wild.clouds] == [p.images for p in alone.clouds]


@pytest.mark.parametrize("step", [5000, 3_600_000, -3000, -3_600_000])
def test_stamps_that_step_for_good_lose_no_cloud(step):
    """A LiDAR whose clock is set while it runs, the ROS clock stays."""
    before, after = stream(None, 20), stream(None, 40)[20:]
    moved = [dataclasses.replace(a, stamp=a.stamp + step * MS) for a in after]
    played = play(settings(), [*before, *moved])
    stamps, dropped, epoch = told(played)
    expected = REGULAR[:20] + [stamp + step for stamp in REGULAR[20:]]
    assert (stamps, dropped) == (expected, {}) and epoch == (step < 0)


def test_a_leap_with_no_cloud_after_it_is_released_after_a_second():
    last = cloud(4300, 10**9, "last")
    end = Action(6 * SECOND, lambda pairing: pairing.on_tick())
    stamps, dropped, _ = told(play(settings(), [*stream(None, 40), last, end]))
    assert stamps == [*REGULAR, 10**9] and not dropped


def test_a_lidar_that_was_off_for_a_while_comes_back_at_once():
    """Stamps and clock went on together: no leap."""
    later = stream(None, 20, begin=30_000)
    played = play(settings(), [*stream(None, 20), *later])
    assert told(played)[1:] == ({}, 0) and max(p.wait_ns for p in played.clouds) == 0


def test_a_fast_bag_without_clock_is_no_leap():
    """Ten times as fast: each stamp is 90 ms further ahead of the clocks than the one before."""
    fast = [
        dataclasses.replace(arrival, time=(200 + 10 * index) * MS)
        for index, arrival in enumerate(stream(None, 200))
    ]
    stamps, dropped, epoch = told(play(settings(), fast))
    assert len(stamps) == 200 and not dropped and epoch == 0

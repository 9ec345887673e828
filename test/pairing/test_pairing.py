"""The acceptance tests of the synchroniser, numbered as in its design: which cameras a cloud gets
and how long it waits.

7-10 and 12-15 (time and stamps) are in test_pairing_time.py, 19 (exceptions) in test_worker.py.
"""

import dataclasses
import math
import tracemalloc

import pytest
from builders.pairing_stories import cloud, image, modes, settings, stream, waits
from builders.simulated import BEGIN, MS, SECOND, Action, SimulatedClock, play, simulation

from cmdfusion_ros.config import LiveSettings, SettingsError
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode, ReleaseReason
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.pairing.settings import CameraTiming, ScanTiming

SIX = simulation.CAMERAS


def change_settings(pairing, settings):
    """Put PairingSettings in force; the next call of any kind takes them over."""
    pairing.settings.current = settings
    pairing.on_tick()


def test_01_with_all_cameras_healthy_every_cloud_is_fused_without_deadline_hits():
    sensors = stream(None, 100) + [
        arrival for camera in SIX for arrival in stream(camera, 101, latency=60)
    ]
    played = play(settings(*SIX), sensors)
    assert modes(played) == [Mode.FUSED] * 100
    assert all(list(paired.images) == list(SIX) for paired in played.clouds)
    report = played.pairing.report()
    assert (report.deadline_hits, report.received, report.released, report.pending) == (
        0,
        100,
        100,
        0,
    )
    assert waits(played)[5:] == [30.0] * 95  # the images come 30 ms after their cloud


def test_02_a_camera_dead_from_the_start_costs_time_only_during_the_grace():
    played = play(settings("front", "dead"), stream(None, 60) + stream("front", 60))
    assert modes(played) == [Mode.PARTIAL] * 60
    assert played.clouds[0].camera_states == {
        "front": CameraStatus.FUSED,
        "dead": CameraStatus.NEVER_SEEN,
    }
    assert waits(played)[:20] == [pytest.approx(60, abs=5)] * 20
    assert waits(played)[21:] == [0.0] * 39
    assert played.pairing.report().cameras["dead"].state == "NEVER_SEEN"


def test_02_a_camera_that_appears_late_in_the_grace_is_waited_for_at_once():
    """What clouds waited for it before it was there is not held against it."""
    played = play(
        settings("late", startup_grace=3.0),
        stream(None, 40) + stream("late", 20, begin=2200, latency=60),
    )
    assert modes(played) == [Mode.LIDAR_ONLY] * 20 + [Mode.FUSED] * 20


def test_03_a_camera_that_dies_costs_at_most_offline_after_of_waits():
    played = play(
        settings("front", "dies"), stream(None, 60) + stream("front", 60) + stream("dies", 30)
    )
    held = [paired.stamp for paired in played.clouds if paired.deadline_hit]
    assert len(held) <= 10 and held[0] == BEGIN + 3200 * MS
    assert waits(played)[41:] == [0.0] * 19
    assert played.clouds[-1].camera_states["dies"] is CameraStatus.OFFLINE
    assert "no image for" in played.pairing.report().cameras["dies"].reason


def test_04_a_camera_that_recovers_is_fused_at_once_and_waited_for_after_three():
    # 30 ms behind the cloud
    back = stream("back", 20, latency=60) + stream("back", 20, latency=60, begin=6200)
    front = stream("front", 80, latency=70)  # and this one 40 ms behind: clouds wait for it anyway
    played = play(settings("front", "back"), stream(None, 80) + front + back)
    missing = [paired.stamp for paired in played.clouds if "back" not in paired.images]
    assert missing == [BEGIN + (2200 + 100 * index) * MS for index in range(40)]
    alone = play(settings("back"), stream(None, 80) + back)  # nothing else makes a cloud wait
    assert modes(alone)[60:] == [Mode.LIDAR_ONLY] * 3 + [Mode.FUSED] * 17
    assert alone.clouds[63].wait_ns == 30 * MS and alone.clouds[60].wait_ns == 0


def test_05_ten_percent_lost_images_cost_no_cloud():
    figures = simulation.measure(simulation.Scenario("lossy", drop=0.1), seconds=20)
    assert figures["clouds_percent"] == 100 and 4.8 < figures["cameras"] < 5.6
    some_lost = [arrival for place, arrival in enumerate(stream("front", 60)) if place % 10 != 7]
    played = play(settings("front", "left"), stream(None, 60) + stream("left", 60) + some_lost)
    assert [place for place, mode in enumerate(modes(played)) if mode is Mode.PARTIAL] == [
        7,
        17,
        27,
        37,
        47,
        57,
    ]
    assert modes(played).count(Mode.FUSED) == 54


def test_06_with_all_cameras_dead_clouds_go_through_lidar_only():
    played = play(settings(*SIX), stream(None, 50))
    assert modes(played) == [Mode.LIDAR_ONLY] * 50
    assert waits(played)[21:] == [0.0] * 29
    assert modes(play(settings(), stream(None, 5))) == [Mode.LIDAR_ONLY] * 5


def test_11_late_images_are_counted_and_the_wait_they_need_is_suggested():
    played = play(
        settings("front", "left"),
        stream(None, 100) + stream("left", 100) + stream("front", 100, latency=110),
    )
    report = played.pairing.report()
    front = report.cameras["front"]
    assert 80 <= report.suggested_max_wait_ms <= 81
    assert front.counts["late"] == 100 and front.lateness[4] == 100  # the bin of 40 to 80 ms
    assert all("front" not in paired.images for paired in played.clouds)
    wider = play(
        settings("front", "left", max_wait=0.081),
        stream(None, 100) + stream("left", 100) + stream("front", 100, latency=110),
    )
    assert modes(wider) == [Mode.FUSED] * 100


def test_11_a_camera_that_never_makes_it_stops_costing_time():
    """Unlike a dead one it sends images, only 200 ms after their cloud; a longer max_wait takes
    it in again.
    """
    sensors = stream(None, 80) + stream("late", 80, latency=230)

    def wait_longer(pairing):
        sync = dataclasses.replace(pairing.settings.current.sync, max_wait=0.25)
        change_settings(pairing, dataclasses.replace(pairing.settings.current, sync=sync))

    longer = Action(5 * SECOND, wait_longer)
    played = play(settings("late", max_pending_clouds=4), sensors + [longer])
    assert waits(played)[14:46] == [0.0] * 32
    assert modes(played)[60:] == [Mode.FUSED] * 20
    before = play(settings("late"), sensors).pairing.report().cameras["late"]
    assert not before.waited_for and "too late" in before.reason


def test_16_one_image_serves_several_clouds():
    played = play(settings("front"), stream(None, 40) + stream("front", 20, period=200, latency=10))
    assert [list(paired.images) for paired in played.clouds[10:14]] == [
        ["front"],
        [],
        ["front"],
        [],
    ]
    reused = play(
        settings("front", tolerance=0.1),
        stream(None, 40) + stream("front", 20, period=200, latency=10),
    )
    assert modes(reused) == [Mode.FUSED] * 40
    assert reused.clouds[10].images["front"].stamp == reused.clouds[11].images["front"].stamp
    # the period tells that the next image is too far away: no wait in vain
    assert waits(played)[10:] == [0.0] * 30


def test_17_an_offset_finds_the_image_and_is_suggested_where_it_is_not_set():
    sensors = stream(None, 60) + stream("front", 61, offset=-38) + stream("left", 61)
    with_offset = settings("front", "left", timing=CameraTiming(tolerance=0.015)).with_camera(
        "front", time_offset=-0.038
    )
    played = play(with_offset, sensors)
    assert modes(played) == [Mode.FUSED] * 60
    assert played.clouds[5].images["front"].offset_ns == 0
    without = play(settings("front", "left", timing=CameraTiming(tolerance=0.015)), sensors)
    assert modes(without) == [Mode.PARTIAL] * 60
    for outcome in (played, without):
        assert outcome.pairing.report().cameras["front"].suggested_time_offset_ms == pytest.approx(
            -38
        )
        assert outcome.pairing.report().cameras["left"].suggested_time_offset_ms == pytest.approx(0)


def test_17_nothing_is_suggested_for_a_camera_that_runs_freely():
    played = play(settings("front"), stream(None, 60) + stream("front", 80, period=83))
    assert math.isnan(played.pairing.report().cameras["front"].suggested_time_offset_ms)


@pytest.mark.parametrize("reference, offset", [("start", 0), ("middle", 0.05), ("end", 0.1)])
def test_17_offsets_count_from_the_start_of_the_scan(reference, offset):
    timing = CameraTiming(time_offset=offset, tolerance=0.001)
    played = play(
        settings("front", timing=timing, scan=ScanTiming(reference, 0.1)),
        stream(None, 10) + stream("front", 10),
    )
    assert modes(played) == [Mode.FUSED] * 10


def test_17_the_tolerance_is_inclusive_and_of_equally_near_images_the_older_is_used():
    edge = play(settings("front"), [image("front", 60, 50), cloud(130, 100)])
    assert edge.clouds[0].images["front"].offset_ns == -50 * MS
    assert play(settings("front"), [image("front", 60, 49), cloud(130, 100)]).clouds[0].images == {}
    tie = play(
        settings("front"), [image("front", 60, 80), image("front", 125, 120), cloud(130, 100)]
    )
    assert tie.clouds[0].images["front"].offset_ns == -20 * MS


def test_18_in_a_burst_of_clouds_the_oldest_leave_as_they_are():
    burst = [cloud(200 + index, 100 * index, index) for index in range(10)]
    played = play(settings("front"), [image("front", 10, 0)] + burst)
    assert [paired.cloud for paired in played.clouds] == list(range(10))
    assert [paired.reason for paired in played.clouds].count(ReleaseReason.BACKLOG) >= 7
    assert played.pairing.report().released == 10


def test_20_a_camera_joins_when_its_calibration_appears():
    joins = Action(4 * SECOND, lambda pairing: pairing.set_camera_ready("front", True, True))
    played = play(settings("front"), stream(None, 60) + stream("front", 60) + [joins], ready=False)
    assert modes(played) == [Mode.LIDAR_ONLY] * 38 + [Mode.FUSED] * 22
    assert played.clouds[30].camera_states["front"] is CameraStatus.NO_CALIBRATION
    assert waits(played)[21:] == [0.0] * 39


def test_20_a_calibration_that_comes_just_after_the_first_image_is_waited_for():
    ready = Action(215 * MS, lambda pairing: pairing.set_camera_ready("front", True, True))
    played = play(
        settings("front"), [cloud(205, 200), image("front", 210, 200), ready], ready=False
    )
    assert modes(played) == [Mode.FUSED] and waits(played) == [10.0]


def test_21_a_camera_may_lose_and_regain_its_calibration():
    lost = Action(2 * SECOND, lambda pairing: pairing.set_camera_ready("front", False, True))
    back = Action(3 * SECOND, lambda pairing: pairing.set_camera_ready("front", True, True))
    played = play(settings("front"), stream(None, 40) + stream("front", 40) + [lost, back])
    assert modes(played) == [Mode.FUSED] * 18 + [Mode.LIDAR_ONLY] * 10 + [Mode.FUSED] * 12


def test_22_a_transform_that_comes_late_or_never():
    late = Action(4 * SECOND, lambda pairing: pairing.set_camera_ready("late", True, True))
    never = Action(0, lambda pairing: pairing.set_camera_ready("never", True, False))
    sensors = stream(None, 60) + stream("late", 60) + stream("never", 60)
    played = play(settings("late", "never"), sensors + [late, never], ready=False)
    assert modes(played) == [Mode.LIDAR_ONLY] * 38 + [Mode.PARTIAL] * 22
    assert played.clouds[-1].camera_states == {
        "late": CameraStatus.FUSED,
        "never": CameraStatus.NO_TRANSFORM,
    }


def test_23_a_cloud_is_passed_on_untouched_whatever_it_is():
    empty = object()
    assert play(settings(), [cloud(100, 90, empty)]).clouds[0].cloud is empty


def test_24_a_camera_may_be_switched_off_and_on():
    off = Action(
        2 * SECOND,
        lambda pairing: change_settings(
            pairing, pairing.settings.current.with_camera("left", enabled=False)
        ),
    )
    on = Action(
        3 * SECOND,
        lambda pairing: change_settings(
            pairing, pairing.settings.current.with_camera("left", enabled=True)
        ),
    )
    sensors = stream(None, 40) + stream("front", 40) + stream("left", 40)
    played = play(settings("front", "left"), sensors + [off, on])
    # one cloud until it is seen again
    assert modes(played) == [Mode.FUSED] * 28 + [Mode.PARTIAL] + [Mode.FUSED] * 11
    assert [len(paired.images) for paired in played.clouds] == [2] * 18 + [1] * 11 + [2] * 11
    assert played.clouds[20].camera_states["left"] is CameraStatus.DISABLED
    assert played.pairing.report().cameras["left"].counts["disabled"] == 10


@pytest.mark.parametrize(
    ("scan", "waits_again"),
    [(ScanTiming(), False), (ScanTiming(stamp_reference="end", scan_period=0.02), True)],
)
def test_24_other_settings_do_not_make_clouds_wait_for_a_late_camera_again(scan, waits_again):
    """80 ms behind its cloud where clouds wait 60. With another moment of the scan its images
    are other ones, and it gets another chance.
    """
    changed = settings("late", scan=scan, min_cameras=0)
    change = Action(4 * SECOND, lambda pairing: change_settings(pairing, changed))
    played = play(settings("late"), [*stream(None, 60), *stream("late", 60, latency=110), change])
    assert waits(played)[35:37] == [0.0, 0.0] and any(waits(played)[40:45]) is waits_again


def test_24_cameras_cannot_be_added_at_run_time():
    pairing = CloudAnchoredPairing(LiveSettings(settings("front")), SimulatedClock(), print)
    with pytest.raises(SettingsError, match="cameras cannot change at run time"):
        change_settings(pairing, settings("front", "left"))
    pairing.settings.current = settings("front")
    with pytest.raises(ValueError, match="did you mean 'front'"):
        pairing.on_image("frnt", 1, None)
    with pytest.raises(SettingsError, match="unknown camera; did you mean 'front'"):
        settings("front").with_camera("frontt", enabled=False)
    with pytest.raises(
        SettingsError, match="sync.min_cameras: expected at most 1 for 1 cameras, got 2"
    ):
        settings("front", min_cameras=2)


def test_25_two_hundred_thousand_clouds_leave_no_trace_in_memory():
    clock = SimulatedClock()
    count = [0]
    pairing = CloudAnchoredPairing(
        LiveSettings(settings("front")),
        clock,
        lambda paired: count.__setitem__(0, count[0] + len(paired.images)),
    )
    pairing.set_camera_ready("front", True, True)

    def run(begin, end):
        for index in range(begin, end):
            clock.steady = index * 100 * MS
            pairing.on_image("front", BEGIN + clock.steady, index)
            pairing.on_cloud(BEGIN + clock.steady, index)

    run(1, 190_000)
    tracemalloc.start()
    try:
        run(190_000, 195_000)
        before = tracemalloc.get_traced_memory()[0]
        run(195_000, 200_001)
        growth = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert count[0] == 200_000 and pairing.report().released == 200_000
    assert growth < 20_000


def test_min_cameras_sends_poorer_clouds_through_lidar_only():
    played = play(
        settings("front", "left", min_cameras=2, startup_grace=0.0),
        stream(None, 4) + stream("front", 4) + stream("left", 2),
    )
    assert modes(played) == [Mode.LIDAR_ONLY] * 1 + [Mode.FUSED] + [Mode.LIDAR_ONLY] * 2
    assert (
        played.clouds[2].images == {}
        and played.clouds[2].camera_states["front"] is CameraStatus.NO_IMAGE
    )


def test_without_a_wait_clouds_leave_as_they_arrive_with_what_is_there():
    played = play(
        settings("front", "left", max_wait=0.0),
        stream(None, 10) + stream("front", 10, latency=20) + stream("left", 10, latency=40),
    )
    assert [list(paired.images) for paired in played.clouds] == [["front"]] * 10
    assert waits(played) == [0.0] * 10


def test_a_full_ring_that_has_lost_the_image_is_counted():
    timing = CameraTiming(time_offset=-0.5, tolerance=0.02)
    played = play(
        settings("front", timing=timing, image_queue=4),
        stream(None, 20) + stream("front", 60, period=33, begin=0),
    )
    assert played.pairing.report().cameras["front"].counts["evicted_too_early"] > 10
    longer = play(
        settings("front", timing=timing, image_queue=32),
        stream(None, 20, begin=600) + stream("front", 60, period=33, begin=0),
    )
    assert modes(longer).count(Mode.FUSED) > 12


def test_a_release_that_raises_costs_that_cloud_only():
    seen = []

    def release(paired):
        seen.append(paired.cloud)
        if paired.cloud == 1:
            raise RuntimeError("subscriber broke")

    clock = SimulatedClock()
    pairing = CloudAnchoredPairing(LiveSettings(settings()), clock, release)
    pairing.on_cloud(BEGIN, 0)
    with pytest.raises(RuntimeError, match="subscriber broke"):
        pairing.on_cloud(BEGIN + 1, 1)
    pairing.on_cloud(BEGIN + 2, 2)
    assert seen == [0, 1, 2] and pairing.report().released == 3

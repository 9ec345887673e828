"""Acceptance tests of the synchroniser, numbered as in its design: jumps, pauses and absence of
time; wild, missing, doubled and disordered stamps.
"""

import weakref

import pytest
from builders.pairing_stories import cloud, image, modes, settings, story, stream, waits
from builders.simulated import BEGIN, MS, SECOND, Action, Arrival, SimulatedClock, play

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.pairing.paired_cloud import CameraStatus, Mode, ReleaseReason
from cmdfusion_ros.pairing.pairing import CloudAnchoredPairing
from cmdfusion_ros.pairing.settings import CameraTiming


def two_passes(jump_after=0, clock=True, leftovers=True, image_latency=60):
    """A bag of five seconds played twice, the second time from `jump_after` ms on the /clock;
    leftovers arrive after it began again.
    """
    once = (
        stream(None, 45)
        + stream("front", 45, latency=image_latency)
        + stream("left", 45, latency=10)
    )
    again = [
        Arrival(arrival.time + 5 * SECOND, arrival.camera, arrival.stamp, arrival.payload)
        for arrival in once
    ]
    late = (
        [
            image("front", 5001, 4650),
            image("left", 5002, 4650),
            image("front", 5003, 4700),
            cloud(5004, 4690),
        ]
        if leftovers
        else []
    )
    jump = 5 * SECOND + jump_after * MS

    def ros(steady):
        if not clock:
            return BEGIN + 50 * 365 * 86400 * SECOND + steady  # the stamps are from another time
        return BEGIN + (steady if steady < jump else steady - 5 * SECOND)

    return once + again + late, SimulatedClock(ros)


@pytest.mark.parametrize("jump_after", [0, 190, 225, 245, 300])
@pytest.mark.parametrize("image_latency", [10, 60])
def test_07_a_bag_loop_with_leftovers_gives_the_same_again(jump_after, image_latency):
    """The clock goes back before, between or after the first messages of the second pass (from
    210 ms on).
    """
    happenings, clock = two_passes(
        jump_after, leftovers=jump_after == 0, image_latency=image_latency
    )
    played = play(settings("front", "left"), happenings, clock=clock)
    first = [paired for paired in played.clouds if paired.epoch == 0]
    second = [paired for paired in played.clouds if paired.epoch == 1]
    assert len(first) == 45 and story(second) == story(first)
    report = played.pairing.report()
    assert (report.time_jumps, report.epoch, len(played.resets)) == (1, 1, 1)
    assert report.received == report.released + sum(report.dropped.values())


@pytest.mark.parametrize("image_latency", [0, 10, 60])
def test_08_a_loop_without_clock_gives_the_same_again(image_latency):
    """Clouds or images may be the first of the second pass."""
    happenings, clock = two_passes(clock=False, leftovers=False, image_latency=image_latency)
    played = play(settings("front", "left"), happenings, clock=clock)
    assert story(played.clouds[45:]) == story(played.clouds[:45]) and len(played.clouds) == 90
    assert played.resets[0][1] == "cloud stamp jumped back"


def test_08_a_bag_shorter_than_the_jump_threshold_is_not_silent_for_ever():
    once = stream(None, 8)
    loops = [
        Arrival(arrival.time + turn * SECOND, None, arrival.stamp, turn)
        for turn in range(6)
        for arrival in once
    ]
    played = play(settings(), loops)
    assert {paired.cloud for paired in played.clouds} >= {0, 2, 4}
    assert played.pairing.report().dropped["out_of_order"] > 0


@pytest.mark.parametrize("with_clock", [True, False])
def test_09_a_pause_of_ten_seconds_puts_no_camera_offline(with_clock):
    def later(arrivals):
        return [
            Arrival(arrival.time + 10 * SECOND, arrival.camera, arrival.stamp, arrival.payload)
            for arrival in arrivals
        ]

    sensors = stream(None, 60) + stream("front", 60, latency=60)
    before, after = (
        [a for a in sensors if a.time < 3205 * MS],
        [a for a in sensors if a.time >= 3205 * MS],
    )
    clock = (
        SimulatedClock(lambda steady: BEGIN + min(steady, 3205 * MS) + max(0, steady - 13205 * MS))
        if with_clock
        else SimulatedClock()
    )
    played = play(settings("front"), before + later(after), clock=clock)
    assert modes(played) == [Mode.FUSED] * 60
    assert [paired.cloud for paired in played.clouds] == [f"cloud {index}" for index in range(60)]
    assert not any(paired.deadline_hit for paired in played.clouds)
    assert not any(3300 * MS < time < 13200 * MS for time, _ in played.released)


def test_10_without_a_clock_clouds_leave_within_the_guard_and_the_report_says_why():
    played = play(
        settings("front", "dead", max_pending_clouds=16),
        stream(None, 30) + stream("front", 30),
        clock=SimulatedClock(lambda steady: 0),
    )
    assert len(played.clouds) == 30
    assert all(paired.wait_ns <= 505 * MS for paired in played.clouds)
    assert played.clouds[0].reason is ReleaseReason.CLOCK_STALLED and played.clouds[0].deadline_hit
    assert (
        "use_sim_time true without anybody publishing /clock" in played.pairing.report().warnings[0]
    )


def test_10_without_a_clock_ten_minutes_of_clouds_leave_no_trace_in_memory():
    """Clouds that never come of age by the ROS clock must not pile up; of one that has left, the
    payload is not kept at all.
    """

    class Payload:
        pass

    clock, kept = SimulatedClock(lambda steady: 0), []
    pairing = CloudAnchoredPairing(
        LiveSettings(settings("front")),
        clock,
        lambda paired: kept.append(weakref.ref(paired.cloud)),
    )
    pairing.set_camera_ready("front", True, True)
    for index in range(6000):
        clock.steady = (index + 1) * 100 * MS
        pairing.on_image("front", BEGIN + clock.steady, b"")
        pairing.on_cloud(BEGIN + clock.steady, Payload())
    assert len(kept) == 6000 - pairing.num_pending and not any(payload() for payload in kept)
    assert max(len(pairing._clouds.recent), len(pairing._clouds._unjudged)) <= 256


@pytest.mark.parametrize("slowness", [20, 100])
def test_10_a_bag_played_slowly_is_not_taken_for_a_standing_clock(slowness):
    """At a twentieth of the speed max_wait lasts 1.2 s of real time, more than the guard; at a
    hundredth more than the grace, too.
    """
    sensors = stream(None, 20) + stream("front", 20, latency=80)
    slow = [Arrival(a.time * slowness, a.camera, a.stamp, a.payload) for a in sensors]
    played = play(
        settings("front"), slow, clock=SimulatedClock(lambda steady: BEGIN + steady // slowness)
    )
    assert modes(played) == [Mode.FUSED] * 20


@pytest.mark.parametrize("comparable", [True, False])
def test_12_an_image_from_the_far_future_is_ignored(comparable):
    clock = (
        SimulatedClock()
        if comparable
        else SimulatedClock(lambda steady: BEGIN + 10**6 * SECOND + steady)
    )
    wild = [image("front", 1105 + index, 60_000 + index) for index in range(10)]
    played = play(
        settings("front", "left"),
        stream(None, 30) + stream("front", 30, latency=50) + stream("left", 30) + wild,
        clock=clock,
    )
    assert modes(played) == [Mode.FUSED] * 30
    assert played.pairing.report().cameras["front"].counts["clock_skew"] == 10


def test_12_a_camera_whose_clock_is_ahead_is_named_and_not_waited_for():
    ahead = [
        Arrival(a.time, a.camera, a.stamp + 5 * SECOND, a.payload) for a in stream("front", 40)
    ]
    played = play(settings("front", startup_grace=0.0), stream(None, 40) + ahead)
    assert (
        played.clouds[-1].camera_states["front"] is CameraStatus.CLOCK_SKEW
        and waits(played)[1:] == [0.0] * 39
    )
    assert "+4.97" in played.pairing.report().cameras["front"].reason
    off = play(settings("front", startup_grace=0.0, clock_skew_limit=0.0), stream(None, 40) + ahead)
    assert "clock_skew" not in off.pairing.report().cameras["front"].counts


def test_12_one_image_from_the_far_past_does_not_cost_the_others():
    played = play(
        settings("front"), stream(None, 30) + stream("front", 30) + [image("front", 1231, -4000)]
    )
    assert modes(played) == [Mode.FUSED] * 30
    assert played.pairing.report().cameras["front"].counts["clock_skew"] == 1


def test_12_images_from_before_the_first_cloud_are_judged_when_it_comes():
    played = play(
        settings("front"),
        [image("front", 100, 60_000)] + stream(None, 5) + stream("front", 5, latency=50),
    )
    assert modes(played) == [Mode.FUSED] * 5


def test_12_cloud_stamps_far_from_the_clock_are_reported_and_still_paired():
    clock = SimulatedClock(lambda steady: BEGIN + 50 * SECOND + steady)
    played = play(settings("front"), stream(None, 5) + stream("front", 5), clock=clock)
    assert modes(played) == [Mode.FUSED] * 5 and played.clouds[0].age_ns == 50 * SECOND + 30 * MS
    assert "is use_sim_time right?" in played.pairing.report().warnings[0]


def test_13_clouds_out_of_order_are_dropped_or_put_in_order():
    played = play(
        settings("slow"),
        [
            image("slow", 10, 0),
            cloud(130, 120, "b"),
            cloud(140, 110, "a"),
            cloud(300, 115, "too late"),
        ],
    )
    assert [paired.cloud for paired in played.clouds] == ["a", "b"]
    # the older cloud came later and must not hold this one up
    assert played.clouds[1].wait_ns <= 60 * MS
    assert played.clouds[0].reason is ReleaseReason.BACKLOG
    assert played.pairing.report().dropped["out_of_order"] == 1


def test_13_an_image_out_of_order_is_put_in_its_place():
    played = play(
        settings("front", tolerance=0.03),
        [
            image("front", 90, 50),
            image("front", 110, 160),
            image("front", 115, 95),
            cloud(130, 100),
        ],
    )
    assert played.clouds[0].images["front"].stamp == BEGIN + 95 * MS
    assert played.pairing.report().cameras["front"].counts["reordered"] == 1


def test_13_a_camera_that_shuffles_is_given_more_time():
    """Pairs of images swap places. When that is known, an image beyond the target is no proof
    that no nearer one follows.
    """
    images = [
        image("front", 40 * pair + (5 if first else 25), 40 * pair + (20 if first else 0))
        for pair in range(1, 100)
        for first in (True, False)
    ]
    clouds = [cloud(40 * pair + 6, 40 * pair + 2) for pair in range(25, 95, 5)]
    played = play(settings("front"), images + clouds)
    assert {paired.images["front"].offset_ns for paired in played.clouds} == {-2 * MS}


def test_14_of_two_clouds_with_one_stamp_the_second_is_dropped():
    played = play(
        settings("front"),
        [
            image("front", 50, 50),
            cloud(130, 100, "first"),
            cloud(131, 100, "twin"),
            cloud(400, 100, "late twin"),
        ],
    )
    assert [paired.cloud for paired in played.clouds] == ["first"]
    assert played.pairing.report().dropped["duplicate"] == 2


def test_14_of_two_images_with_one_stamp_the_newer_is_used():
    played = play(
        settings("front"),
        [image("front", 110, 100, "old"), image("front", 111, 100, "new"), cloud(130, 100)],
    )
    assert played.clouds[0].images["front"].image == "new"


def test_14_a_driver_that_repeats_its_last_image_counts_as_dead():
    stuck = [image("front", 1000 + 50 * index, 990, "stuck") for index in range(80)]
    played = play(
        settings("front", clock_skew_limit=0.0), stream(None, 45) + stream("front", 8) + stuck
    )
    assert (
        played.clouds[-1].camera_states["front"] is CameraStatus.OFFLINE and waits(played)[-1] == 0
    )


def test_15_an_image_without_a_stamp_is_rejected_or_dated_by_arrival():
    unstamped = [Arrival(a.time, a.camera, 0, a.payload) for a in stream("front", 30)]
    played = play(settings("front"), stream(None, 30) + unstamped)
    front = played.pairing.report().cameras["front"]
    assert front.counts["unstamped"] == 30 and "stamp_source" in front.reason
    dated = play(
        settings("front", timing=CameraTiming(stamp_source="arrival")), stream(None, 30) + unstamped
    )
    assert modes(dated) == [Mode.FUSED] * 30


def test_15_a_cloud_without_a_stamp_gets_its_time_of_arrival():
    played = play(
        settings("front"),
        [image("front", 90, 90), Arrival(100 * MS, None, 0, "cloud"), image("front", 150, 140)],
    )
    assert played.clouds[0].stamp == BEGIN + 100 * MS and played.pairing.report().unstamped == 1


def test_a_reset_drops_what_waits_and_tells_why():
    clock, resets = SimulatedClock(), []
    pairing = CloudAnchoredPairing(
        LiveSettings(settings("front")),
        clock,
        print,
        lambda epoch, reason: resets.append((epoch, reason)),
    )
    pairing.on_cloud(BEGIN, "waits")
    pairing.reset("asked for")
    assert resets == [(1, "asked for")] and pairing.num_pending == 0
    assert (
        pairing.report().dropped == {"out_of_order": 0, "duplicate": 0, "reset": 1}
        and pairing.report().time_jumps == 0
    )


def test_a_small_step_back_of_the_clock_is_a_jump_only_where_ros_says_so():
    def ros(steady):
        return BEGIN + steady - (300 * MS if steady >= 2 * SECOND else 0)

    says_so = Action(2 * SECOND, lambda pairing: pairing.on_clock_jump())
    assert play(settings(), stream(None, 20), clock=SimulatedClock(ros)).resets == []
    jumped = play(settings(), stream(None, 20) + [says_so], clock=SimulatedClock(ros))
    assert jumped.resets == [(2 * SECOND, "ROS clock jumped back")]


def test_a_small_step_back_of_the_clock_makes_no_cloud_wait_longer_by_it():
    """Host time corrected by 800 ms while a cloud waits; the sensors have clocks of their own."""
    clock = SimulatedClock(lambda steady: BEGIN + steady - (800 * MS if steady >= 240 * MS else 0))
    played = play(settings("dead"), [cloud(230, 200), image("dead", 240, 100)], clock=clock)
    assert played.released[0][0] <= 305 * MS


def test_a_small_step_back_of_the_clock_does_not_hide_that_a_camera_died():
    clock = SimulatedClock(lambda steady: BEGIN + steady - (800 * MS if steady >= 1150 * MS else 0))
    played = play(
        settings("front", recover_after=100), stream(None, 40) + stream("front", 10), clock=clock
    )
    assert waits(played)[21:] == [0.0] * 19
    assert len([wait for wait in waits(played)[10:] if wait]) <= 11


@pytest.mark.parametrize("back", [500, 3000])
def test_after_a_seek_back_the_same_stretch_is_played_without_loss(back):
    """Also where the clock passes the moment of the jump again: the last image before it came at
    5099 ms, the next cloud is stamped 5100.
    """
    once = stream(None, 40, begin=1000) + stream("front", 41, begin=1000, latency=99)
    jump = 5105
    again = [
        Arrival(a.time + back * MS, a.camera, a.stamp, a.payload)
        for a in once
        if a.time > (jump - back) * MS
    ]
    rest = [
        Arrival(a.time + back * MS, a.camera, a.stamp, a.payload)
        for a in stream(None, 20, begin=5000) + stream("front", 19, begin=5100, latency=99)
    ]
    clock = SimulatedClock(
        lambda steady: BEGIN + steady - (back * MS if steady >= jump * MS else 0)
    )
    says_so = Action(jump * MS, lambda pairing: pairing.on_clock_jump())
    played = play(settings("front", max_wait=0.08), once + [says_so] + again + rest, clock=clock)
    assert played.pairing.report().dropped == {"out_of_order": 0, "duplicate": 0, "reset": 0}
    assert modes(played)[-20:] == [Mode.FUSED] * 20

"""One camera as the synchroniser sees it, by hand. Times in ms for readability: the class only
compares.
"""

import pytest

from cmdfusion_ros.pairing.camera_stream import CameraState, CameraStream
from cmdfusion_ros.pairing.settings import CameraTiming, SyncSettings

MS = 1_000_000


def stream_of(*stamps, **sync):
    """A ready camera with images of these stamps, each arrived as it was stamped."""
    stream = CameraStream("front", CameraTiming(), SyncSettings(**sync))
    stream.calibrated = stream.has_transform = True
    for stamp in stamps:
        stream.add(stamp * MS, f"at {stamp}", stamp * MS)
    return stream


def test_of_a_camera_without_images_nothing_is_known():
    stream = stream_of()
    assert stream.nearest(0) is None and stream.eligible(0) is None and stream.period is None
    assert not stream.is_settled(0, 0) and stream.state is CameraState.NEVER_SEEN


def test_the_nearest_image_is_found_on_either_side():
    stream = stream_of(100, 200, 300)
    assert [stream.nearest(target * MS).stamp // MS for target in (0, 149, 150, 151, 299, 999)] == [
        100,
        100,
        100,
        200,
        300,
        300,
    ]


def test_the_ring_forgets_the_oldest_stamp_not_the_oldest_arrival():
    stream = stream_of(100, 200, 300, 150, 160, image_queue=3)
    assert [stream.nearest(target * MS).stamp // MS for target in (0, 190, 999)] == [160, 200, 300]
    assert stream.has_evicted(150 * MS) and not stream.has_evicted(170 * MS)


def test_the_period_is_the_shortest_interval_so_that_lost_images_do_not_stretch_it():
    assert stream_of(100, 200, 300).period is None
    assert stream_of(100, 200, 300, 500, 600).period == 100 * MS


@pytest.mark.parametrize(
    "target, settled",
    [(300, True), (340, True), (350, False), (360, False), (299, True), (460, False)],
)
def test_a_target_is_settled_when_the_next_image_would_be_farther(target, settled):
    """Newest 300, period 100, tolerance 50: the next is due at 400."""
    assert stream_of(0, 100, 200, 300).is_settled(target * MS, 300 * MS) is settled


def test_a_target_between_the_reach_of_two_images_is_settled_without_one():
    stream = stream_of(0, 200, 400, 600)
    assert stream.eligible(700 * MS) is None and stream.is_settled(700 * MS, 600 * MS)
    assert not stream.is_settled(751 * MS, 600 * MS)  # the image at 800 would serve


def test_after_three_swaps_in_a_minute_a_newer_image_must_be_newer_by_the_disorder():
    stream = stream_of(0, 100, 80, 200, 180, 300, 280)
    assert stream.disorder(300 * MS) == 20 * MS
    assert not stream.is_settled(285 * MS, 300 * MS) and stream.is_settled(280 * MS, 300 * MS)
    assert stream.disorder(70_000 * MS) == 0


def test_a_silent_camera_is_offline_only_when_clock_and_clouds_have_gone_on():
    stream = stream_of(0, 100, 200)
    stream.refresh(2000 * MS, 300 * MS)
    assert stream.state is CameraState.ACTIVE  # the clouds stand still too: a pause
    stream.refresh(1200 * MS, 1300 * MS)
    assert stream.state is CameraState.ACTIVE  # one second, not more
    stream.refresh(1201 * MS, 1300 * MS)
    assert stream.state is CameraState.OFFLINE and not stream.worth_waiting


def test_a_slow_camera_is_given_three_periods():
    stream = stream_of(0, 1000, 2000, 3000)
    stream.refresh(5900 * MS, 5900 * MS)
    assert stream.state is CameraState.ACTIVE
    stream.refresh(6001 * MS, 6001 * MS)
    assert stream.state is CameraState.OFFLINE


def test_waits_in_vain_end_after_offline_after_and_begin_again_after_hits_in_a_row():
    stream = stream_of(0, recover_after=2, offline_after=0.5)
    for begin in range(0, 500, 100):
        stream.judge(False, True, begin * MS, (begin + 60) * MS)
        assert stream.worth_waiting
    stream.judge(False, True, 500 * MS, 560 * MS)
    assert not stream.worth_waiting
    for in_time in (True, False, True):
        stream.judge(in_time, False, 0, 0)
    assert not stream.worth_waiting
    stream.judge(True, False, 0, 0)
    assert stream.worth_waiting


@pytest.mark.parametrize(
    ("timing", "sync", "trusted"),
    [
        ({}, {}, False),
        ({}, {"fixed_frame": "odom", "min_cameras": 0, "offline_after": 2.0}, False),
        ({}, {"max_wait": 0.2}, True),
        ({}, {"tolerance": 0.1}, True),
        ({"tolerance": 0.1}, {}, True),
        ({"time_offset": -0.05}, {}, True),
    ],
)
def test_a_camera_known_to_be_late_is_waited_for_again_only_where_its_own_timing_changes(
    timing, sync, trusted
):
    stream = stream_of(0)
    stream.worth_waiting = False
    stream.configure(CameraTiming(**timing), SyncSettings(**sync))
    assert stream.worth_waiting is trusted


def test_one_stamp_far_behind_is_put_aside_and_two_are_a_new_time_line():
    stream = stream_of(5000, 5100, 1000, 5200)
    assert stream.nearest(0).stamp == 5000 * MS and stream.tally.counts["clock_skew"] == 1
    stream = stream_of(5000, 5100, 1000, 1100)
    assert stream.nearest(9999 * MS).stamp == 1100 * MS and stream.tally.counts["time_jumps"] == 1


def test_a_new_time_line_of_the_clouds_keeps_a_camera_that_was_there_first():
    first = stream_of(5000, 5100, 1000, 1100)
    first.start_time_line()
    assert first.nearest(0).stamp == 1000 * MS and first.state is CameraState.ACTIVE
    first.start_time_line()
    assert first.nearest(0) is None
    just_there = stream_of(5000, 5100, 1000)
    just_there.start_time_line()
    assert just_there.nearest(9999 * MS).stamp == 1000 * MS


def test_hits_from_before_a_silence_do_not_count_after_it():
    stream = stream_of(0, 100, recover_after=2)
    for _ in range(5):
        stream.judge(True, False, 0, 0)
    stream.refresh(2000 * MS, 2000 * MS)
    stream.add(2100 * MS, "back", 2100 * MS)
    stream.judge(True, False, 0, 0)
    assert not stream.worth_waiting
    stream.judge(True, False, 0, 0)
    assert stream.worth_waiting

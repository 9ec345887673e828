"""What holds for the synchroniser whatever arrives: hypothesis makes up the arrivals."""

from builders import simulated
from hypothesis import HealthCheck, given
from hypothesis import settings as run_with
from hypothesis import strategies as some

from cmdfusion_ros.pairing.paired_cloud import Mode
from cmdfusion_ros.pairing.settings import CameraTiming, PairingSettings, SyncSettings

Action, Arrival, play, MS, BEGIN = (
    simulated.Action,
    simulated.Arrival,
    simulated.play,
    simulated.MS,
    simulated.BEGIN,
)
CAMERAS = ("front", "left")
few = run_with(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@some.composite
def sync(draw, **fixed):
    """SyncSettings; rings that never evict, so that a slow reference knows what is in them."""
    return SyncSettings(
        max_wait=draw(some.sampled_from([0.0, 0.013, 0.06, 0.2])),
        tolerance=draw(some.sampled_from([0.01, 0.05, 0.2])),
        max_pending_clouds=fixed.get("max_pending_clouds") or draw(some.integers(1, 4)),
        startup_grace=draw(some.sampled_from([0.0, 0.5])),
        offline_after=draw(some.sampled_from([0.1, 1.0])),
        recover_after=draw(some.integers(1, 3)),
        image_queue=64,
        time_jump_threshold=draw(some.sampled_from([0.3, 3600.0]))
        if not fixed.get("one_time_line")
        else 3600.0,
        clock_skew_limit=0.0 if fixed.get("one_time_line") else draw(some.sampled_from([0.0, 1.0])),
    )


@some.composite
def arrivals(draw, clouds_in_order=False):
    """Up to 40 messages in 1.2 s: mostly regular, some late, some swapped, some repeated, some
    unstamped.
    """
    happenings = []
    for sensor, period in ((None, 100), ("front", 100), ("left", 70)):
        phase, latency = draw(some.integers(0, 99)), draw(some.integers(0, 150))
        for index in range(draw(some.integers(0, 12))):
            stamp = 100 + phase + index * period
            extra = draw(some.integers(0, 60)) if not (clouds_in_order and sensor is None) else 0
            kind = draw(
                some.sampled_from(
                    ["well"] * 8 + ["lost", "repeated", "unstamped", "past", "future"]
                )
            )
            if clouds_in_order and sensor is None or kind == "well":
                stamps = [stamp]
            else:
                stamps = {
                    "lost": [],
                    "repeated": [stamp, stamp],
                    "unstamped": [-BEGIN // MS],
                    "past": [stamp - 500],
                    "future": [stamp + 500],
                }[kind]
            happenings += [
                Arrival(
                    (stamp + latency + extra + turn) * MS,
                    sensor,
                    BEGIN + at * MS,
                    (sensor, index, turn),
                )
                for turn, at in enumerate(stamps)
            ]
    return happenings


def settings_of(sync_settings, cameras=CAMERAS):
    return PairingSettings(
        sync_settings,
        cameras={
            camera: CameraTiming(time_offset=0.01 if camera == "left" else 0.0)
            for camera in cameras
        },
    )


def outcome(played):
    """What must not depend on ticks."""
    return [
        (
            p.epoch,
            p.cloud,
            p.stamp,
            p.mode,
            {name: (image.image, image.offset_ns) for name, image in p.images.items()},
        )
        for p in played.clouds
    ]


@few
@given(sync(), arrivals())
def test_every_cloud_received_is_released_once_or_dropped_by_name(sync_settings, happenings):
    played = play(settings_of(sync_settings), happenings)
    report = played.pairing.report()
    assert report.received == sum(arrival.camera is None for arrival in happenings)
    assert (
        report.received == report.released + report.pending + sum(report.dropped.values())
        and report.pending == 0
    )
    assert len({paired.cloud for paired in played.clouds}) == len(played.clouds) == report.released
    assert [paired.sequence for paired in played.clouds] == list(range(report.released))
    for camera in CAMERAS:
        counts = report.cameras[camera].counts
        assert counts.get("received", 0) == sum(arrival.camera == camera for arrival in happenings)


@few
@given(sync(), arrivals())
def test_stamps_only_grow_within_an_epoch_and_epochs_only_grow(sync_settings, happenings):
    order = [
        (paired.epoch, paired.stamp)
        for paired in play(settings_of(sync_settings), happenings).clouds
    ]
    assert all(earlier < later for earlier, later in zip(order, order[1:], strict=False))


@few
@given(sync(), arrivals())
def test_no_cloud_waits_longer_than_max_wait_and_a_tick(sync_settings, happenings):
    """But for clouds whose stamp leaps from that of the cloud before them: those wait for the next
    one to tell what they are, a second at most (R18).
    """
    played = play(settings_of(sync_settings), happenings, tick=1 * MS)
    arrived = {arrival.payload: arrival.time for arrival in happenings}
    clouds = sorted((each for each in happenings if each.camera is None), key=lambda a: a.time)
    leapt = {
        cloud.payload
        for before, cloud in zip(clouds, clouds[1:], strict=False)
        if abs(cloud.stamp - before.stamp) > 290 * MS
    }
    longest = sync_settings.max_wait * 1e9 + 1 * MS
    for time, paired in played.released:
        second = 1000 * MS if paired.cloud in leapt else 0
        assert 0 <= time - arrived[paired.cloud] <= longest + second
        assert paired.wait_ns == time - arrived[paired.cloud]


@few
@given(sync(one_time_line=True), arrivals())
def test_each_camera_gives_the_nearest_image_it_has_if_that_is_within_tolerance(
    sync_settings, happenings
):
    """Against a slow reference that remembers every image."""
    settings = settings_of(sync_settings)
    played = play(settings, happenings, tick=1 * MS)
    tolerance = sync_settings.tolerance * 1e9
    in_order = sorted(happenings, key=lambda arrival: arrival.time)
    for time, paired in played.released:
        for camera, timing in settings.cameras.items():
            target = paired.stamp + round(timing.time_offset * 1e9)
            here = {
                arrival.stamp: arrival
                for arrival in in_order
                if arrival.camera == camera and arrival.time < time and arrival.stamp > 0
            }
            surely = min(here, key=lambda stamp: (abs(stamp - target), stamp), default=None)
            used = paired.images.get(camera)
            if used:
                assert abs(used.offset_ns) <= tolerance and used.stamp - target == used.offset_ns
                assert surely is None or abs(used.offset_ns) <= abs(surely - target)
            else:
                assert surely is None or abs(surely - target) > tolerance


@few
@given(sync(), arrivals(clouds_in_order=True))
def test_without_one_camera_the_same_clouds_come_out(sync_settings, happenings):
    with_both = [paired.cloud for paired in play(settings_of(sync_settings), happenings).clouds]
    without = [arrival for arrival in happenings if arrival.camera != "left"]
    assert [
        paired.cloud for paired in play(settings_of(sync_settings), without).clouds
    ] == with_both
    assert [
        paired.cloud for paired in play(settings_of(sync_settings, ("front",)), without).clouds
    ] == with_both


@few
@given(sync(), arrivals(), some.integers(0, 1500))
def test_two_resets_are_one(sync_settings, happenings, moment):
    def reset(times):
        def do(pairing):
            for _ in range(times):
                pairing.reset("test")

        return Action(moment * MS, do)

    once, twice = (
        play(settings_of(sync_settings), happenings + [reset(times)]) for times in (1, 2)
    )
    assert [row[1:] for row in outcome(once)] == [row[1:] for row in outcome(twice)]


@few
@given(sync(), arrivals())
def test_the_result_does_not_depend_on_when_the_ticks_come(sync_settings, happenings):
    results = [
        outcome(play(settings_of(sync_settings), happenings, tick=tick))
        for tick in (None, 1 * MS, 7 * MS, 50 * MS)
    ]
    assert results[1:] == results[:-1]


@few
@given(sync(), arrivals())
def test_the_mode_counts_the_images(sync_settings, happenings):
    for paired in play(settings_of(sync_settings), happenings).clouds:
        assert (
            paired.mode is {0: Mode.LIDAR_ONLY, 1: Mode.PARTIAL, 2: Mode.FUSED}[len(paired.images)]
        )
        assert set(paired.camera_states) == set(CAMERAS)


def test_what_a_camera_taught_at_one_deadline_holds_for_the_next_cloud_whenever_the_tick_comes():
    """The wait of the first cloud was in vain, so the second must not get the image that comes
    after that.
    """
    images = [(905, 500), (1005, 600), (1105, 700), (1250, 1090)]
    happenings = [Arrival(time * MS, "front", BEGIN + stamp * MS, stamp) for time, stamp in images]
    happenings += [
        Arrival(time * MS, None, BEGIN + (time - 10) * MS, time) for time in (1000, 1100)
    ]
    sync_settings = SyncSettings(
        max_wait=0.2, offline_after=0.15, recover_after=1, startup_grace=0.0, clock_skew_limit=0.0
    )
    results = [
        outcome(play(settings_of(sync_settings, ("front",)), happenings, tick=tick))
        for tick in (None, 1 * MS)
    ]
    assert results[0] == results[1] and [row[3] for row in results[0]] == [Mode.LIDAR_ONLY] * 2


def test_a_camera_that_wins_trust_back_is_waited_for_by_the_clouds_that_come_after():
    """The first cloud's deadline (888 ms) lies between the end of the grace (868 ms), when the
    second may go, and the image that would serve it (929 ms).
    """
    images = [(454, 324), (561, 394), (716, 534), (808, 674), (929, 744)]
    clouds = [(368, 243), (465, 343), (603, 443), (688, 543), (864, 743)]
    happenings = [Arrival(time * MS, "left", BEGIN + stamp * MS, stamp) for time, stamp in images]
    happenings += [Arrival(time * MS, None, BEGIN + stamp * MS, stamp) for time, stamp in clouds]
    sync_settings = SyncSettings(
        max_wait=0.2, offline_after=0.1, recover_after=1, startup_grace=0.5, max_pending_clouds=4
    )
    results = [
        outcome(play(settings_of(sync_settings), happenings, tick=tick)) for tick in (None, 1 * MS)
    ]
    assert results[0] == results[1]

"""The pairing among message filters, with small stand-ins for theirs."""

import threading
from types import SimpleNamespace

import pytest

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.pairing.filter import PairingFilter
from cmdfusion_ros.pairing.paired_cloud import Mode
from cmdfusion_ros.pairing.settings import CameraTiming, PairingSettings

MS = 1_000_000
BEGIN = 1_700_000_000_000 * MS
PATIENCE = 20.0


class Source:
    """What message_filters calls a SimpleFilter."""

    def __init__(self):
        self.callbacks = []

    def registerCallback(self, callback, *arguments):  # noqa: N802
        self.callbacks.append((callback, arguments))

    def give(self, message):
        for callback, arguments in self.callbacks:
            callback(message, *arguments)


class Clock:
    def __init__(self):
        self.now = BEGIN

    def now_ros(self):
        return self.now

    def now_steady(self):
        return self.now - BEGIN


def message(ms, payload=None):
    stamp = BEGIN + ms * MS
    return SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=stamp // 10**9, nanosec=stamp % 10**9)),
        payload=payload,
    )


def make_filter(**images):
    clock, points = Clock(), Source()
    pairing_filter = PairingFilter(
        LiveSettings(PairingSettings(cameras={name: CameraTiming() for name in images})),
        clock,
        points,
        images,
    )
    for camera in images:
        pairing_filter.set_camera_ready(camera)
    return pairing_filter, clock, points


def test_clouds_and_images_of_filters_come_out_paired_with_the_arguments_of_the_callback():
    front = Source()
    pairing_filter, _, points = make_filter(front=front)
    seen = []
    assert pairing_filter.registerCallback(lambda *arguments: seen.append(arguments), "extra") == 0
    assert pairing_filter.registerCallback(lambda paired: seen.append(paired.stamp)) == 1
    image, cloud = message(10), message(0)
    points.give(cloud)
    assert seen == []
    front.give(image)
    (paired, extra), stamp = seen
    assert paired.cloud is cloud and paired.images["front"].image is image and extra == "extra"
    assert paired.mode is Mode.FUSED and stamp == BEGIN


def test_a_tick_releases_what_is_due():
    pairing_filter, clock, points = make_filter(front=Source())
    seen = []
    pairing_filter.registerCallback(seen.append)
    points.give(message(0))
    clock.now += 60 * MS
    pairing_filter.on_tick()
    assert [paired.mode for paired in seen] == [Mode.LIDAR_ONLY]
    assert pairing_filter.report().released == 1


def test_16_a_callback_that_raises_holds_no_lock():
    """Where message_filters would block for ever."""
    pairing_filter, _, points = make_filter()
    seen = []

    def callback(paired):
        seen.append(paired.stamp)
        if len(seen) == 1:
            raise RuntimeError("subscriber broke")

    pairing_filter.registerCallback(callback)
    with pytest.raises(RuntimeError, match="subscriber broke"):
        points.give(message(0))
    thread = threading.Thread(target=points.give, args=(message(100),))
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive() and seen == [BEGIN, BEGIN + 100 * MS]


def test_inputs_on_other_threads_are_not_held_up_by_a_slow_callback_and_the_order_is_kept():
    pairing_filter, _, points = make_filter()
    entered, leave, seen = threading.Event(), threading.Event(), []

    def slow(paired):
        seen.append(paired.sequence)
        entered.set()
        assert leave.wait(PATIENCE)

    pairing_filter.registerCallback(slow)
    thread = threading.Thread(target=points.give, args=(message(0),))
    thread.start()
    assert entered.wait(PATIENCE)
    for index in range(1, 20):
        points.give(message(100 * index))  # returns at once: the thread that gives takes these over
    leave.set()
    thread.join(PATIENCE)
    assert seen == list(range(20))


def test_inputs_must_fit_the_settings():
    with pytest.raises(
        ValueError, match=r"images: expected one input for each of \['front'\], got \['left'\]"
    ):
        PairingFilter(
            LiveSettings(PairingSettings(cameras={"front": CameraTiming()})),
            Clock(),
            Source(),
            {"left": Source()},
        )

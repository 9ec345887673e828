"""Faults around a running node: each plays one on a Robot. CAMERAS cost no cloud; CLOUDS and TIME
name the reasons for which clouds may be dropped.
"""

import os
import resource
import signal
from pathlib import Path

import numpy as np
from builders.robot import INTERFACES, LATCHED
from rclpy.qos import QoSReliabilityPolicy, qos_profile_sensor_data
from rclpy.serialization import serialize_message

BEST_EFFORT, RELIABLE = QoSReliabilityPolicy.BEST_EFFORT, QoSReliabilityPolicy.RELIABLE
HOUR = 3600 * 10**9


# ---- cameras


def cameras_die(it):
    it.drive(45, images=lambda index, stamp: {})


def one_camera_dies(it):
    it.drive(30, images=lambda index, stamp: {"front": stamp})


def cameras_freeze(it):
    frozen = it.now()
    it.drive(30, images=lambda index, stamp: dict.fromkeys(it.cameras, frozen))


def cameras_repeat_themselves(it):
    stamps = []

    def images(index, stamp):
        stamps.append(stamp)
        return dict.fromkeys(it.cameras, stamps[index - index % 3])

    it.drive(30, images)


def cameras_go_black(it):
    it.drive(20, lambda index, stamp: {c: {"stamp": stamp, "grey": 0} for c in it.cameras})


def cameras_are_late(it):
    it.drive(30, lambda index, stamp: dict.fromkeys(it.cameras, stamp - 300_000_000))


def cameras_have_wrong_stamps(it):
    wrong = (HOUR, -HOUR, 900_000_000, -(10**9) * 1_000_000, 10**9 * 100_000)
    it.drive(30, lambda index, stamp: {"front": stamp + wrong[index % 5], "left": 0})


def cameras_have_another_size(it):
    it.drive(20, lambda index, s: {c: {"stamp": s, "size": (128, 96)} for c in it.cameras})


def camera_info_is_gone(it):
    it.drive(20, infos=False)


def camera_info_is_wrong_and_jumps(it):
    focals = (0.0, float("nan"), 1e308, -1.0, 5e-324, 80.0)

    def cloud(stamp):
        for camera in it.cameras:
            it.info(camera, focals[it.sent % 6])
        it.cloud(stamp)

    it.drive(30, infos=False, cloud=cloud)


# ---- transforms


def transforms_are_gone(it):
    """They hang under a frame that nobody joins to the LiDAR."""
    it.tf_static.publish(it.transforms(parent="nowhere"))
    it.drive(20)
    it.tf_static.publish(it.transforms())


def transforms_are_wrong_and_jump(it):
    turns = ((0.0, 0.0, 0.0, 0.0), (float("nan"), 0.0, 0.0, 1.0), (1e300, 0.0, 0.0, 0.0),
             (0.0, 0.0, 0.0, 1.0))  # fmt: skip
    shifts, parents = (float("nan"), 1e300, 5.0), ("lidar", "front", "", "x")

    def cloud(stamp):
        n = it.sent
        it.tf.publish(it.transforms(turns[n % 4], shifts[n % 3], parents[n // 4 % 4], stamp + HOUR))
        it.cloud(stamp)

    it.drive(30, cloud=cloud)
    it.tf_static.publish(it.transforms())


def transforms_of_60_000_junk_frames(it):
    before = resident_mb(it)
    message = INTERFACES.TFMessage()
    for index in range(1000):
        one = it.transforms(stamp=it.now(), parent="lidar").transforms[0]
        one.child_frame_id = f"junk_##_{index}"
        message.transforms.append(one)
    raw = bytes(serialize_message(message))

    def cloud(stamp):
        it.tf.publish(raw.replace(b"##", b"%02d" % (it.sent % 60)))
        it.cloud(stamp)

    it.drive(60, cloud=cloud)
    grown = resident_mb(it) - before
    print(f"60,000 junk frames: {grown:.1f} MB more")
    assert grown < 100


def resident_mb(it):
    lines = Path(f"/proc/{it.process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


# ---- clouds


def bursts_of_clouds(it):
    for _ in range(2):
        base = it.now()
        for index in range(100):
            it.cloud(base + index * 1000)
        it.spin(0.3)


def clouds_of_odd_layouts(it):
    nan = np.full((100, 4), np.nan, "f4").tobytes()
    changes = ({"width": 0, "row_step": 0, "data": b""}, {"height": 2**32 - 1}, {"point_step": 0},
               {"row_step": 1}, {"is_bigendian": True}, {"data": b""}, {"fields": []},
               {"data": nan}, {"data": nan.replace(b"\xc0\x7f", b"\x80\x7f")},
               {"point_step": 2**32 - 1, "width": 2**32 - 1})  # fmt: skip
    for change in changes:
        it.cloud(**change)
        it.spin(0.05)
        it.cloud()
        it.spin(0.05)


def frames_of_clouds_flip(it):
    frames = ("lidar", "other", "", "\x1b[31mred\n")
    it.drive(24, cloud=lambda stamp: it.cloud(stamp, frames[it.sent % 4]))


def clouds_with_wild_stamps(it):
    wild = (900_000_000, HOUR, -HOUR)
    for index in range(6):
        it.drive(4)
        it.cloud(it.now() + wild[index % 3])
        it.spin(0.02)


def two_lidars_on_one_topic(it):
    def clouds(stamp):
        it.cloud(stamp)
        it.cloud(stamp - 30_000_000)

    it.drive(20, cloud=clouds)


def the_driver_comes_back_with_another_quality_of_service(it):
    for quality, wanted in ((qos_profile_sensor_data, BEST_EFFORT), (LATCHED, RELIABLE),
                            (qos_profile_sensor_data, BEST_EFFORT), (100, RELIABLE)):  # fmt: skip
        it.node.destroy_publisher(it.points)
        it.points = it.node.create_publisher(INTERFACES.PointCloud2, "points", quality)
        it.until(lambda wanted=wanted: node_subscribes(it, wanted), f"{wanted.name}")
        it.spin(0.5)
        it.drive(10)


def node_subscribes(it, reliability):
    found = it.node.get_subscriptions_info_by_topic(it.points.topic_name)
    asked = [one.qos_profile.reliability for one in found if one.node_name == "cmdfusion"]
    return asked == [reliability] and it.points.get_subscription_count() == 1


# ---- the machine


def the_node_is_stopped_for_two_seconds(it):
    os.kill(it.process.pid, signal.SIGSTOP)
    it.drive(60)
    os.kill(it.process.pid, signal.SIGCONT)


def the_disk_is_full(it):
    """A limit on the size of files is what a test without rights can fill a disk with."""
    size = resource.RLIMIT_FSIZE
    before = resource.prlimit(it.process.pid, size)
    resource.prlimit(it.process.pid, size, (1000, before[1]))
    try:
        client = it.node.create_client(INTERFACES.Trigger, f"{it.base}/save_frame")
        it.until(client.service_is_ready, "~/save_frame")
        asked = client.call_async(INTERFACES.Trigger.Request())
        it.until(asked.done, "its answer")
        assert asked.result().success
        it.drive(10)
        it.until(lambda: "saved frame" in it.part("pipeline")["last_error"], "the complaint")
        assert it.part("pipeline")["level"] == 1 and list(it.home.glob("*.npz*")) == []
    finally:
        resource.prlimit(it.process.pid, size, before)


# ---- time


def the_bag_begins_again(it):
    it.drive(20)
    it.clock_time -= 5 * 10**9
    it.drive(20)


def the_bag_pauses(it):
    it.drive(5)
    it.spin(2.0)


def the_bag_jumps_ahead(it):
    it.drive(5)
    it.clock_time += 60 * 10**9
    it.drive(20)


def the_clock_stands_while_clouds_come(it):
    def cloud(stamp):
        it.clock_time += 50_000_000  # the sensors' time goes on, nobody publishes it
        it.cloud(it.clock_time)

    it.drive(20, cloud=cloud, clock=False)


def two_clocks_12_ms_apart(it):
    epoch = it.part("sync")["epoch"]

    def cloud(stamp):
        it.tick(at=stamp - 12_000_000)
        it.cloud(stamp)
        it.tick(at=stamp)

    it.drive(40, cloud=cloud)
    it.counts()
    assert it.part("sync")["epoch"] == epoch


def two_clocks_a_minute_apart(it):
    def cloud(stamp):
        it.tick(at=stamp - 60 * 10**9)
        it.spin(0.02)
        it.tick(at=stamp)
        it.cloud(stamp)

    it.drive(30, cloud=cloud)
    it.until(lambda: it.part("sync")["level"] == 2, "the complaint")
    assert "time began anew in" in it.part("sync")["message"]
    it.spin(0.5)


CAMERAS = [
    cameras_die, one_camera_dies, cameras_freeze, cameras_repeat_themselves, cameras_go_black,
    cameras_are_late, cameras_have_wrong_stamps, cameras_have_another_size, camera_info_is_gone,
    camera_info_is_wrong_and_jumps, transforms_are_gone, transforms_are_wrong_and_jump,
    transforms_of_60_000_junk_frames,
]  # fmt: skip
CLOUDS = {
    bursts_of_clouds: (),
    clouds_of_odd_layouts: ("malformed",),
    frames_of_clouds_flip: (),
    clouds_with_wild_stamps: ("wild_stamp",),
    two_lidars_on_one_topic: ("out_of_order",),
    the_driver_comes_back_with_another_quality_of_service: (),
    the_node_is_stopped_for_two_seconds: (),
    the_disk_is_full: (),
}
TIME = {
    the_bag_begins_again: ("reset",),
    the_bag_pauses: (),
    the_bag_jumps_ahead: ("wild_stamp",),
    the_clock_stands_while_clouds_come: (),
    two_clocks_12_ms_apart: (),
    two_clocks_a_minute_apart: ("reset", "wild_stamp"),
}

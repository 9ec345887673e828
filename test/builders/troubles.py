"""Faulty recordings and troubled nodes, one for each entry of docs/troubleshooting.md: what the
product says of them.
"""

import contextlib
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import cv2
import numpy as np
from builders import bag_messages
from builders.aligned_drive import aligned_drive
from builders.commands import cmdfusion
from builders.diagnosed import World
from builders.walled_drive import PICTURE, camera, clouds, image, info, scene
from builders.watched import Stage, turned

from cmdfusion_ros.cli.doctor import shared_memory_findings
from cmdfusion_ros.data.bags.bag import BagWriter
from cmdfusion_ros.labelling.diagnostics.topic_hints import hint

PRODUCERS: dict[str, Callable[[Path], str]] = {}  # {title of an entry: what makes its symptom}


def shows(title):
    """The decorated function makes the symptom of that entry, in a folder, and returns what the
    product says.
    """

    def note(function):
        PRODUCERS[title] = function
        return function

    return note


def said(verb, bag, *words):
    """What `cmdfusion verb` prints of a bag."""
    out = bag.parent / f"out_of_{verb}"
    more = ("--backend", "fake") if verb == "label" else ()
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(heard):
        cmdfusion(verb, bag, "--out", out, *more, *words)
    return heard.getvalue()


def labelled(folder, messages):
    return said("label", bag_messages.write(folder / "bag", messages))


def inspected(folder, messages):
    return said("inspect", bag_messages.write(folder / "bag", messages))


def healthy(folder):
    """What inspect and label say of a drive without a fault."""
    bag = bag_messages.write(folder / "bag", clouds() + bag_messages.place("front") + camera())
    return said("inspect", bag) + said("label", bag)


# ---- recordings


@shows("The recorder was killed")
def cut_off(folder):
    bag = bag_messages.write(folder / "bag", clouds())
    (file,) = bag.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    return said("label", bag)


@shows("The folder has no metadata.yaml")
def without_metadata(folder):
    bag = bag_messages.write(folder / "bag", clouds())
    (bag / "metadata.yaml").unlink()
    return said("label", bag)


def foreign(folder, topic, kind, more=()):
    """What `inspect` says of a bag with a topic of a type that only its makers know."""
    with BagWriter(folder / "bag", {kind: "uint8[] data\n"}) as writer:
        for name, msgtype, time, message in more:
            writer.write(name, msgtype, time, writer.serialize(message, msgtype))
        writer.write(topic, kind, bag_messages.START, b"\0\1\0\0" + bytes(8))
    return said("inspect", folder / "bag")


@shows("A Livox LiDAR was recorded in its own format")
def livox(folder):
    return foreign(folder, "/livox/lidar", "livox_ros_driver2/msg/CustomMsg")


@shows("Only the LiDAR's packets were recorded")
def packets(folder):
    return foreign(folder, "/ouster/lidar_packets", "ouster_sensor_msgs/msg/PacketMsg")


# ---- clouds


@shows("The coordinates are integers")
def integers(folder):
    return labelled(folder, clouds(points=scene() * 100, kind="i2"))


@shows("The clouds are in coordinates of a map grid")
def utm(folder):
    points = scene() + [450_000, 5_400_000, 0]
    return labelled(folder, clouds(points=points, kind="f8"))


@shows("Every cloud has the same stamp, or none")
def without_stamps(folder):
    return labelled(folder, clouds(stamp_of=lambda number: 0))


@shows("The cloud has no intensity")
def without_intensity(folder):
    return inspected(folder, clouds(intensity=False))


@shows("The cloud's frame is that of a map")
def in_a_map(folder):
    return inspected(folder, clouds(points=scene() + [300, -120, 0], frame_id="map"))


@shows("No ground is seen")
def a_wall(folder):
    rng = np.random.default_rng(2)
    wall = np.c_[rng.uniform(-3, 3, 2000), np.full(2000, 12.0), rng.uniform(0, 3, 2000)]
    return inspected(folder, clouds(points=wall))


# ---- cameras of a recording


@shows("A camera without CameraInfo")
def without_info(folder):
    pictures = [message for message in camera() if message[1] != bag_messages.INFO]
    return labelled(folder, clouds() + bag_messages.place("front") + pictures)


@shows("A camera that was never calibrated")
def uncalibrated(folder):
    zero = camera(info_of=lambda stamp: info(stamp, focal=0.0))
    return labelled(folder, clouds() + bag_messages.place("front") + zero)


@shows("Nothing says where the camera sits")
def without_transform(folder):
    return inspected(folder, clouds() + bag_messages.place("left") + camera())


@shows("The camera's images have no stamps")
def images_without_stamps(folder):
    unstamped = camera(image_of=lambda stamp: image(0))
    return labelled(folder, clouds() + bag_messages.place("front") + unstamped)


@shows("LiDAR and camera live by two clocks")
def two_clocks(folder):
    since_boot = clouds(stamp_of=lambda number: 4280 * 10**9 + number * 100 * bag_messages.MS)
    return labelled(folder, since_boot + bag_messages.place("front") + camera())


@shows("The calibration is of another image size")
def another_size(folder):
    large = camera(info_of=lambda stamp: info(stamp, size=(640, 480)))
    return labelled(folder, clouds() + bag_messages.place("front") + large)


@shows("The camera was recorded as a video stream")
def video(folder):
    kind = "ffmpeg_image_transport_msgs/msg/FFMPEGPacket"
    return foreign(folder, "/front/image_raw/ffmpeg", kind, clouds())


@shows("Images come long after their clouds")
def late_images(folder):
    return inspected(
        folder, clouds() + bag_messages.place("front") + camera(late=560 * bag_messages.MS)
    )


@shows("A camera stops in the middle of a drive")
def camera_stops(folder):
    return labelled(folder, clouds(count=30) + bag_messages.place("front") + camera(count=10))


@shows("Images are damaged")
def damaged(folder):
    whole = cv2.imencode(".jpg", np.full((*PICTURE[::-1], 3), 90, np.uint8))[1]
    messages = (
        clouds()
        + bag_messages.place("front")
        + [each for each in camera() if each[1] == bag_messages.INFO]
    )
    for number in range(10):
        time = bag_messages.START + number * 100 * bag_messages.MS
        data = whole if number < 2 else whole[:300]
        picture = bag_messages.make(
            bag_messages.COMPRESSED, bag_messages.header(time, "front_optical"), "jpeg", data
        )
        messages.append(
            (
                "/front/image_raw/compressed",
                bag_messages.COMPRESSED,
                time + 40 * bag_messages.MS,
                picture,
            )
        )
    return labelled(folder, messages)


@shows("No point falls into the image")
def not_optical(folder):
    upwards = bag_messages.static(bag_messages.transform("lidar", "front_optical", np.eye(4)))
    return labelled(folder, clouds() + upwards + camera())


# ---- the running node, as /diagnostics says it


def told(world, part, **facts):
    return world.parts(**facts)[part].message


def hinted(topic, wanted, published, setting):
    return {topic: hint(topic, wanted, published, setting)}


@shows("A camera does not sit where it says")
def turned_camera(folder):
    stage = Stage(aligned_drive().transforms())
    stage.feed(*(turned(frame, 3) for frame in aligned_drive().frames))
    return stage.last["left"][0]


@shows("The node waits for clouds under another name")
def another_name(folder):
    hints = hinted(
        "points", bag_messages.CLOUD, {"/ouster/points": [bag_messages.CLOUD]}, "points.topic"
    )
    return told(World(), "lidar", hints=hints)


@shows("Only compressed images are published")
def only_compressed(folder):
    published = {"front/image_raw/compressed": [bag_messages.COMPRESSED]}
    hints = hinted("front/image_raw", bag_messages.IMAGE, published, "front.image_topic")
    return told(World(), "camera/front", hints=hints)


@shows("Publisher and node do not agree on quality of service")
def incompatible(folder):
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import PointCloud2

    from cmdfusion_ros.ros.qos import publishers_of

    offered, asked = (
        QoSProfile(depth=5, reliability=policy)
        for policy in (ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE)
    )
    driver = SimpleNamespace(topic_type=bag_messages.CLOUD, qos_profile=offered, node_name="driver")
    graph = SimpleNamespace(get_publishers_info_by_topic=lambda topic: [driver])
    ours = SimpleNamespace(topic_name="/points", qos_profile=asked, msg_type=PointCloud2)
    return told(World(), "lidar", publishers={"points": publishers_of(graph, ours)})


@shows("Clouds and node live by two clocks")
def simulated_time(folder):
    world = World()
    world.now = 200_000.0
    world.pairing.on_cloud(world.now_ros() - 90_000 * 10**9, object())
    return told(world, "sync")


@shows("Time stands still")
def no_clock(folder):
    class Stopped(World):
        def now_ros(self):
            return 10**9

    world = Stopped()
    for _ in range(30):
        world.now += 0.1
        world.pairing.on_cloud(10**9, object())
        world.pairing.on_tick()
    return told(world, "sync")


@shows("Nothing comes out, and nothing is wrong")
def nobody(folder):
    world = World()
    world.clouds(3, labelled=False)
    return told(world, "pipeline", wanted=False)


@shows("Clouds get lost between driver and node")
def lost_on_the_way(folder):
    world = World()
    world.clouds(10)
    world.diagnostics.clouds_lost(7)
    return told(world, "lidar")


@shows("The machine is too slow for every cloud")
def too_slow(folder):
    world = World()
    world.parts()
    world.clouds(40)
    for _ in range(60):
        world.diagnostics.cloud_arrived(world.now_ros())
        world.diagnostics.cloud_dropped("busy")
    return told(world, "pipeline")


# ---- installation and machine


@shows("The weights are not found")
def without_weights(folder):
    bag = bag_messages.write(folder / "bag", clouds(count=1))
    return said("label", bag, "--backend", "auto", "--checkpoint", folder / "mine.safetensors")


@shows("The node does not start without ROS 2")
def without_ros(folder):
    script = "import sys; sys.modules['rclpy'] = None\n"
    script += "from cmdfusion_ros.cli.node import main; main([])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return done.stderr


@shows("Shared memory is full")
def little_shared_memory(folder):
    (folder / "fastdds_0001").write_bytes(bytes(9_000_000))
    with mock.patch.object(shutil, "disk_usage", lambda path: SimpleNamespace(free=8e6)):
        (finding,) = shared_memory_findings(folder)
    return finding.words

"""Bags of one LiDAR and some cameras, message by message: START is the first stamp, clouds come at
10 Hz and are recorded 30 ms after their stamps.
"""

import numpy as np

from cmdfusion_ros.data.bags.bag import Bag, BagWriter, ros2_types
from cmdfusion_ros.geometry.transforms import invert, quaternion_from_rotation, rigid

MS = 1_000_000
START = 1_700_000_000_000 * MS
CLOUD, IMAGE, COMPRESSED = (
    "sensor_msgs/msg/PointCloud2",
    "sensor_msgs/msg/Image",
    "sensor_msgs/msg/CompressedImage",
)
INFO, TRANSFORMS = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
OPTICAL_FROM_LIDAR = invert(
    rigid(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), (0.2, 0.0, -0.3))
)


def make(name, *values):
    return ros2_types().types[name](*values)


def header(stamp, frame_id):
    return make(
        "std_msgs/msg/Header", make("builtin_interfaces/msg/Time", *divmod(stamp, 10**9)), frame_id
    )


def cloud(stamp, points=4, frame_id="lidar"):
    fields = [
        make("sensor_msgs/msg/PointField", name, 4 * index, 7, 1)
        for index, name in enumerate("xyz")
    ]
    return make(
        CLOUD,
        header(stamp, frame_id),
        1,
        points,
        fields,
        False,
        12,
        12 * points,
        np.zeros(12 * points, np.uint8),
        True,
    )


def image(stamp, frame_id, encoding="rgb8"):
    return make(IMAGE, header(stamp, frame_id), 2, 2, encoding, 0, 6, np.zeros(12, np.uint8))


def info(stamp, frame_id, focal=100.0, binning=0):
    region = make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    k = np.array([focal, 0, 1, 0, focal, 1, 0, 0, 1])
    return make(
        INFO,
        header(stamp, frame_id),
        2,
        2,
        "plumb_bob",
        np.zeros(5),
        k,
        np.eye(3).reshape(-1),
        np.zeros(12),
        binning,
        0,
        region,
    )


def transform(parent, child, parent_from_child, stamp=START):
    turn = make(
        "geometry_msgs/msg/Quaternion",
        *map(float, quaternion_from_rotation(parent_from_child[:3, :3])),
    )
    shift = make("geometry_msgs/msg/Vector3", *map(float, parent_from_child[:3, 3]))
    return make(
        "geometry_msgs/msg/TransformStamped",
        header(stamp, parent),
        child,
        make("geometry_msgs/msg/Transform", shift, turn),
    )


def write(path, messages):
    """messages: (topic, type, recording time, message)."""
    with BagWriter(path) as writer:
        for topic, msgtype, time, message in sorted(messages, key=lambda item: item[2]):
            writer.write(
                topic,
                msgtype,
                time,
                writer.serialize(message, msgtype),
                latched=topic == "/tf_static",
            )
    return path


def static(*links):
    return [("/tf_static", TRANSFORMS, START, make(TRANSFORMS, list(links)))]


def clouds(count=10, period=100 * MS, topic="/lidar/points", **more):
    return [
        (topic, CLOUD, START + index * period + 30 * MS, cloud(START + index * period, **more))
        for index in range(count)
    ]


def camera(
    name, offset, count=10, period=100 * MS, late=40 * MS, topic="image_raw", jitter=None, **more
):
    """Images and CameraInfo of /name/..., stamped `offset` from the clouds, recorded `late`
    after their stamps.
    """
    frame = f"{name}_optical"
    messages = []
    for index in range(count):
        stamp = START + index * period + offset + (int(jitter[index]) if jitter is not None else 0)
        messages.append((f"/{name}/{topic}", IMAGE, stamp + late, image(stamp, frame)))
        messages.append(
            (f"/{name}/camera_info", INFO, stamp + late - MS, info(stamp, frame, **more))
        )
    return messages


def place(*names):
    return static(
        *(transform("lidar", f"{name}_optical", invert(OPTICAL_FROM_LIDAR)) for name in names)
    )


def rewrite(source, target, data_of):
    """Write a bag again with the data that `data_of(number, message)` gives of each message."""
    with Bag(source) as bag, BagWriter(target) as writer:
        for number, message in enumerate(bag.messages()):
            topic, kind, latched = message.topic, message.msgtype, message.topic == "/tf_static"
            writer.write(topic, kind, message.time, data_of(number, message), latched=latched)

"""The messages of a small robot, as bytes: clouds of some points, pictures of some pixels."""

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.data.bags.bag import ros2_types
from cmdfusion_ros.geometry.transforms import quaternion_from_rotation

CAMERAS = ("front", "left")
SIZE = 32, 18  # pixels
_CLOUD, _IMAGE = "sensor_msgs/msg/PointCloud2", "sensor_msgs/msg/CompressedImage"
_INFO, _TRANSFORMS = "sensor_msgs/msg/CameraInfo", "tf2_msgs/msg/TFMessage"
_FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # LiDAR from optical axes


def stamped(template: bytes, stamp: int) -> bytes:
    """A serialised message (little-endian, header first) with another stamp, ns; what the field
    cannot hold wraps round.
    """
    seconds, rest = divmod(stamp, 1_000_000_000)
    wrapped = (seconds + (1 << 31)) % (1 << 32) - (1 << 31)
    return template[:4] + struct.pack("<iI", wrapped, rest) + template[12:]


def make(name: str, *values: Any) -> Any:
    """A message object of rosbags."""
    return ros2_types().types[name](*values)


def header(frame_id: str, stamp: int = 0) -> Any:
    """std_msgs/Header."""
    time = make("builtin_interfaces/msg/Time", *divmod(stamp, 1_000_000_000))
    return make("std_msgs/msg/Header", time, frame_id)


def serialised(message: Any, msgtype: str) -> bytes:
    """CDR bytes."""
    return bytes(ros2_types().serialize_cdr(message, msgtype))


def cloud(
    points: np.ndarray, order: str = "<", size: int = 4, height: int = 1, padding: int = 0,
    extra: Sequence[tuple[str, int, int, int]] = (), frame_id: str = "lidar",
) -> bytes:  # fmt: skip
    """A serialised PointCloud2 of (N, 3) points.

    Args:
        order: "<" or ">". size: bytes of a coordinate, 4 or 8. height, padding: lines, and bytes
            behind each.
        extra: (name, datatype, count, bytes) of fields that follow, zero.
    """
    width = len(points) // height
    field = ros2_types().types["sensor_msgs/msg/PointField"]
    kind = {4: 7, 8: 8}[size]
    fields, step = [field(n, size * i, kind, 1) for i, n in enumerate("xyz")], 3 * size
    for name, datatype, count, length in extra:
        fields.append(field(name, step, datatype, count))
        step += length
    rows = np.zeros((height, width * step + padding), np.uint8)
    values = points[: height * width].astype(f"{order}f{size}").reshape(height, width, 3)
    if width:
        inner = rows[:, : width * step].reshape(height, width, step)
        inner[..., : 3 * size] = np.frombuffer(values.tobytes(), np.uint8).reshape(
            height, width, 3 * size
        )
        rows[:, : width * step] = inner.reshape(height, -1)
    message = make(
        _CLOUD, header(frame_id), height, width, fields, order == ">", step, rows.shape[1],
        rows.reshape(-1), False,
    )  # fmt: skip
    return serialised(message, _CLOUD)


def image(value: int = 128, size: tuple[int, int] = SIZE) -> bytes:
    """A serialised CompressedImage of one grey."""
    picture = np.full((size[1], size[0], 3), value, np.uint8)
    data = cv2.imencode(".jpg", picture)[1].reshape(-1)
    return serialised(make(_IMAGE, header("front"), "jpeg", data), _IMAGE)


def camera_info(camera: str, focal: float = 20.0) -> bytes:
    """A serialised CameraInfo; a focal length of 0 is no calibration."""
    width, height = SIZE
    k = np.array([focal, 0, width / 2, 0, focal, height / 2, 0, 0, 1.0])
    region = make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    return serialised(
        make(
            _INFO,
            header(camera),
            height,
            width,
            "plumb_bob",
            np.zeros(5),
            k,
            np.eye(3).reshape(-1),
            np.zeros(12),
            0,
            0,
            region,
        ),  # fmt: skip
        _INFO,
    )


def transforms(links: Sequence[tuple[str, str, float]], stamp: int = 0) -> bytes:
    """A serialised TFMessage of (parent, child, metres along x), all looking ahead."""
    turn = make("geometry_msgs/msg/Quaternion", *map(float, quaternion_from_rotation(_FORWARD)))
    items = []
    for parent, child, x in links:
        shift = make("geometry_msgs/msg/Vector3", x, 0.0, 0.0)
        place = make("geometry_msgs/msg/Transform", shift, turn)
        link = header(parent, stamp), child, place
        items.append(make("geometry_msgs/msg/TransformStamped", *link))
    return serialised(make(_TRANSFORMS, items), _TRANSFORMS)


def odd_clouds() -> list[bytes]:
    """Clouds of every layout, empty ones, far ones, and some that are none."""
    points = np.random.default_rng(0).uniform(1, 20, (12, 3))
    extra = [("intensity", 2, 1, 1), ("t", 6, 1, 4), ("echo", 5, 3, 12)]
    nowhere = np.full((12, 3), np.nan)
    return [
        cloud(points, ">"),
        cloud(points, ">", 8, 3, 5, extra),
        cloud(points, "<", 8),
        cloud(points, "<", 4, 4, 7, extra),
        cloud(points[:0]),
        cloud(points[:0], ">", 4, 1, 0, [("a", 8, 4_294_967_295, 0)]),
        cloud(nowhere),
        cloud(points * 1e6),
        cloud(points * 1e30, size=8),
        cloud(points, frame_id="elsewhere"),
        cloud(points, extra=[("x", 7, 1, 4)]),
        cloud(points)[:-40],
    ]


def damaged(data: bytes, random: Random) -> bytes:
    """Some bytes behind the header changed, or the end cut off."""
    place = random.randrange(60, len(data))
    if random.random() < 0.3:
        return data[:place]
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]

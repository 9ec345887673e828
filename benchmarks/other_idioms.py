"""For node_overhead.py: the messages that are measured, of rclpy or of rosbags, and what others
read them with (sensor_msgs_py, cv_bridge), or stand-ins where that is not installed.
"""

import array
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from cmdfusion_ros.messages.clouds import DTYPES

IMAGE_SIZE = (960, 540)


class RclpyWire:
    """Messages and bytes as rclpy makes them."""

    name = "rclpy"

    def __init__(self) -> None:
        from rclpy.serialization import deserialize_message, serialize_message
        from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
        from std_msgs.msg import Header

        self.types = {
            "PointCloud2": PointCloud2,
            "Image": Image,
            "CompressedImage": CompressedImage,
        }
        self.point_field, self.make_header = PointField, lambda: Header(frame_id="lidar")
        self.make_cloud, self._from, self._to = PointCloud2, deserialize_message, serialize_message

    def deserialize(self, raw: Any, name: str) -> Any:
        return self._from(raw, self.types[name])

    def serialize(self, message: Any) -> Any:
        return self._to(message)

    def make(self, name: str, data: bytes, **values: Any) -> Any:
        message = self.types[name](**values)
        message.data = array.array("B", data)
        return message


class RosbagsWire:
    """Messages and bytes as rosbags makes them, where there is no ROS."""

    name = "rosbags"

    def __init__(self) -> None:
        from rosbags.typesys import Stores, get_typestore

        self._store = get_typestore(Stores.ROS2_HUMBLE)
        self._types = self._store.types
        self.point_field = self._types["sensor_msgs/msg/PointField"]

    def make_header(self) -> Any:
        return self._types["std_msgs/msg/Header"](
            stamp=self._types["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="lidar"
        )

    def make_cloud(self) -> Any:
        return self._types["sensor_msgs/msg/PointCloud2"](
            self.make_header(), 0, 0, [], False, 0, 0, np.zeros(0, np.uint8), True
        )

    def deserialize(self, raw: Any, name: str) -> Any:
        return self._store.deserialize_cdr(raw, f"sensor_msgs/msg/{name}")

    def serialize(self, message: Any) -> Any:
        message.data = np.frombuffer(message.data, np.uint8)
        return self._store.serialize_cdr(message, message.__msgtype__)

    def make(self, name: str, data: bytes, **values: Any) -> Any:
        return self._types[f"sensor_msgs/msg/{name}"](data=np.frombuffer(data, np.uint8), **values)


Wire = RclpyWire | RosbagsWire


def make_wire() -> Wire:
    try:
        return RclpyWire()
    except ImportError:
        return RosbagsWire()


class RewrittenPointCloud2:
    """The two functions of sensor_msgs_py.point_cloud2 that the idioms call, as that package
    works: structured arrays through and through.
    """

    def __init__(self, wire: Wire):
        self._wire = wire

    @staticmethod
    def dtype_of(fields: Sequence[Any], point_step: int) -> np.dtype:
        formats = {
            "names": [f.name for f in fields],
            "formats": [DTYPES[f.datatype] for f in fields],
            "offsets": [f.offset for f in fields],
        }
        layout: Any = {**formats, "itemsize": point_step}
        return np.dtype(layout)

    def read_points(self, cloud: Any, field_names: Sequence[str], skip_nans: bool) -> np.ndarray:
        points = np.ndarray(
            cloud.width * cloud.height,
            self.dtype_of(cloud.fields, cloud.point_step),
            np.asarray(cloud.data),
        )[list(field_names)]
        if not skip_nans or cloud.is_dense:
            return points
        return points[np.logical_and.reduce([~np.isnan(points[name]) for name in field_names])]

    def create_cloud(self, header: Any, fields: Sequence[Any], points: Any, point_step: int) -> Any:
        dtype = self.dtype_of(fields, point_step)
        points = (
            points if isinstance(points, np.ndarray) else np.array(list(map(tuple, points)), dtype)
        )
        data = array.array("B")
        data.frombytes(memoryview(points).cast("B"))
        message = self._wire.make_cloud()
        message.header, message.height, message.width, message.fields, message.is_dense = (
            header,
            1,
            len(points),
            fields,
            False,
        )
        message.point_step, message.row_step, message.data = (
            point_step,
            point_step * len(points),
            data,
        )
        return message


def rewritten_cv_bridge(message: Any) -> np.ndarray:
    """What CvBridge does for the two transports measured here: a view or cv2.imdecode, then
    cvtColor.
    """
    if hasattr(message, "encoding"):
        return cv2.cvtColor(
            np.ndarray((message.height, message.width, 3), np.uint8, np.asarray(message.data)),
            cv2.COLOR_BGR2RGB,
        )
    return cv2.cvtColor(
        cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_ANYCOLOR), cv2.COLOR_BGR2RGB
    )


# point_cloud2, what decodes an image, notes
Idioms = tuple[Any, Callable[[Any], np.ndarray], list[str]]
# serialised: a cloud, images; the name of the images' type
Messages = tuple[Any, list[Any], str]


def make_idioms(wire: Wire) -> Idioms:
    """(point_cloud2, decode, notes): the packages where they are installed, else what stands in
    for them.
    """
    notes = []
    try:
        if wire.name != "rclpy":
            raise ImportError("needs the messages of rclpy")
        from sensor_msgs_py import point_cloud2

        notes.append("sensor_msgs_py: the installed one")
    except ImportError as error:
        point_cloud2 = RewrittenPointCloud2(wire)
        notes.append(f"sensor_msgs_py: its idioms re-written here ({error})")
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()

        def decode(message: Any) -> np.ndarray:
            return (
                bridge.imgmsg_to_cv2(message, "rgb8")
                if hasattr(message, "encoding")
                else bridge.compressed_imgmsg_to_cv2(message, "rgb8")
            )

        notes.append("cv_bridge: the installed one")
    except ImportError as error:
        decode = rewritten_cv_bridge
        notes.append(f"cv_bridge: its idioms re-written here ({error})")
    return point_cloud2, decode, notes


def make_messages(wire: Wire, num_points: int, num_images: int, images: str) -> Messages:
    """Serialised (cloud, [image], name of the image type): a cloud as a Velodyne driver sends
    it, 2 of 100 points NaN, and images with something on them.
    """
    generator = np.random.default_rng(0)
    kinds = [
        ("x", "f4"),
        ("y", "f4"),
        ("z", "f4"),
        ("intensity", "f4"),
        ("ring", "u2"),
        ("time", "f4"),
    ]
    numbers = {kind: number for number, kind in DTYPES.items()}
    dtype = np.dtype(kinds)
    points = np.zeros(num_points, dtype)
    assert dtype.fields is not None
    for name, scale in (("x", 60), ("y", 60), ("z", 3)):
        points[name] = generator.uniform(-scale, scale, num_points)
    points["x"][::50] = np.nan
    points["intensity"] = generator.integers(0, 256, num_points)
    fields = [
        wire.point_field(name=name, offset=dtype.fields[name][1], datatype=numbers[kind], count=1)
        for name, kind in kinds
    ]
    cloud = wire.make(
        "PointCloud2",
        points.tobytes(),
        header=wire.make_header(),
        height=1,
        width=num_points,
        fields=fields,
        is_bigendian=False,
        point_step=dtype.itemsize,
        row_step=dtype.itemsize * num_points,
        is_dense=False,
    )
    width, height = IMAGE_SIZE
    coarse = generator.integers(0, 256, (height // 20, width // 20, 3), np.uint8)
    picture = cv2.resize(coarse, IMAGE_SIZE, interpolation=cv2.INTER_CUBIC)
    if images == "jpeg":
        kind, image = (
            "CompressedImage",
            wire.make(
                "CompressedImage",
                cv2.imencode(".jpg", picture)[1].tobytes(),
                header=wire.make_header(),
                format="jpeg",
            ),
        )
    else:
        kind = "Image"
        image = wire.make(
            kind,
            picture.tobytes(),
            header=wire.make_header(),
            height=height,
            width=width,
            encoding="bgr8",
            is_bigendian=0,
            step=3 * width,
        )
    return wire.serialize(cloud), [wire.serialize(image)] * num_images, kind

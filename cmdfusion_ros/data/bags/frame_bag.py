"""Frames -> a bag such as a robot records: clouds, images with CameraInfo, transforms; and
beside it the labels, for scoring.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.bags.bag import BagWriter, ros2_types
from cmdfusion_ros.data.npz import read_npz
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import invert, quaternion_from_rotation

CLOUD_TOPIC = "/lidar/points"
_FLOAT32 = 7
_EARLIEST_NS = 10**17  # 1973; an earlier stamp counts from the start of something
# where stamps count from 0: in ROS a stamp of 0 means that there is none
_FIRST_STAMP_NS = 1_700_000_000_000_000_000
# how long after their stamps drivers deliver
_CLOUD_LATE_NS, _IMAGE_LATE_NS = 30_000_000, 44_000_000


def labels_path(bag: str | Path) -> Path:
    """Where the labels of a bag lie: `<bag>_labels.npz` beside it."""
    bag = Path(bag)
    return bag.with_name(
        bag.name.removesuffix(bag.suffix if bag.suffix in (".bag", ".mcap") else "") + "_labels.npz"
    )


@dataclass(frozen=True)
class BagLabels:
    """The known labels of a bag's clouds.

    Attributes:
        dataset: whose raw ids they are ("street", "pandaset", ...), for `ClassMap.labels_from_raw`.
        raw: {header stamp in ns: (N,) raw ids in the order of the cloud's points}.
    """

    dataset: str
    raw: dict


def read_bag_labels(bag: str | Path) -> BagLabels | None:
    """The BagLabels beside a bag, or None where there is no such file.

    The file holds one array of raw ids a cloud, `stamps_ns` with the header stamps of the clouds in
    the order of the sorted names, and `dataset` (where that is missing, the bag's name must begin
    with "pandaset").

    Raises:
        ValueError: the file does not say whose ids they are, or has not one array a stamp.
    """
    path = labels_path(bag)
    if not path.exists():
        return None
    file = read_npz(path)
    names = sorted(set(file) - {"stamps_ns", "dataset"})
    dataset = (
        str(file["dataset"])
        if "dataset" in file
        else "pandaset"
        if path.name.startswith("pandaset")
        else ""
    )
    if not dataset:
        raise ValueError(
            f"{path}: does not say whose raw ids it holds; add an entry `dataset`, such as "
            "semantic_kitti"
        )
    if "stamps_ns" not in file or len(file["stamps_ns"]) != len(names):
        raise ValueError(
            f"{path}: expected `stamps_ns` with one stamp for each of its {len(names)} clouds"
        )
    return BagLabels(
        dataset,
        {int(stamp): file[name] for stamp, name in zip(file["stamps_ns"], names, strict=True)},
    )


def write_frame_bag(
    path: str | Path, frames: Iterable[Frame], class_map: ClassMap, jpeg_quality: int | None = None
) -> int:
    """Write frames as a rosbag2 (mcap), and their labels to `labels_path(path)`.

    Clouds go to /lidar/points (x y z intensity, FLOAT32), images to /<camera>/image_raw (rgb8), or
    as JPEG to /<camera>/image_raw/compressed, with /<camera>/camera_info, transforms to /tf_static
    (base_link -> LiDAR -> <camera>_optical) and /tf (odom -> base_link, where frames have poses).
    Cameras are those of the first frame. Stamps that count from the start of a sequence are moved
    to the autumn of 2023.

    Args:
        path: folder to make.
        frames: iterable of Frames with labels of `class_map`, at least one. Later frames may lack
            views: nothing is written for them.
        jpeg_quality: 1 to 100 for JPEG; None for raw images.

    Returns:
        Number of frames.
    """
    raw, stamps, shift = {}, [], 0
    with BagWriter(path) as writer:
        for index, frame in enumerate(frames):
            if index == 0:
                shift = 0 if frame.stamp >= _EARLIEST_NS else _FIRST_STAMP_NS - frame.stamp
                _write(
                    writer,
                    "/tf_static",
                    "tf2_msgs/msg/TFMessage",
                    frame.stamp + shift,
                    _static_transforms(frame, shift),
                    latched=True,
                )
            for topic, msgtype, time, message in sorted(
                _messages(frame, shift, jpeg_quality), key=lambda item: item[2]
            ):
                _write(writer, topic, msgtype, time, message)
            raw[f"{index:06d}"] = class_map.raw_from_labels(frame.labels)
            stamps.append(frame.stamp + shift)
    np.savez_compressed(
        labels_path(path),
        stamps_ns=np.array(stamps, np.int64),
        dataset=np.array(class_map.name),
        **raw,
    )
    return len(stamps)


def _write(writer, topic, msgtype, time, message, latched=False):
    writer.write(topic, msgtype, time, writer.serialize(message, msgtype), latched=latched)


def _make(name, *values):
    return ros2_types().types[name](*values)


def _header(stamp, frame_id):
    return _make(
        "std_msgs/msg/Header",
        _make("builtin_interfaces/msg/Time", *divmod(stamp, 1_000_000_000)),
        frame_id,
    )


def _messages(frame, shift, jpeg_quality):
    """(topic, type, recording time, message) of everything one frame gives, with `shift` ns
    added to every stamp.
    """
    stamp = frame.stamp + shift
    if frame.world_from_lidar is not None:
        pose = _make(
            "tf2_msgs/msg/TFMessage",
            [_transform(stamp, "odom", "base_link", frame.world_from_lidar)],
        )
        yield "/tf", "tf2_msgs/msg/TFMessage", stamp + _CLOUD_LATE_NS - 5_000_000, pose
    yield CLOUD_TOPIC, "sensor_msgs/msg/PointCloud2", stamp + _CLOUD_LATE_NS, _cloud(frame, stamp)
    for view in frame.views:
        taken = view.stamp + shift if view.stamp else stamp
        yield (
            f"/{view.name}/camera_info",
            "sensor_msgs/msg/CameraInfo",
            taken + _IMAGE_LATE_NS - 1_000_000,
            _camera_info(view, taken),
        )
        if jpeg_quality is None:
            yield (
                f"/{view.name}/image_raw",
                "sensor_msgs/msg/Image",
                taken + _IMAGE_LATE_NS,
                _image(view, taken),
            )
        else:
            yield (
                f"/{view.name}/image_raw/compressed",
                "sensor_msgs/msg/CompressedImage",
                taken + _IMAGE_LATE_NS,
                _jpeg(view, taken, jpeg_quality),
            )


def _cloud(frame, stamp):
    data = np.column_stack((frame.points, frame.intensity)).astype("<f4")
    fields = [
        _make("sensor_msgs/msg/PointField", name, 4 * index, _FLOAT32, 1)
        for index, name in enumerate(("x", "y", "z", "intensity"))
    ]
    flat = np.frombuffer(data.tobytes(), np.uint8)
    return _make(
        "sensor_msgs/msg/PointCloud2",
        _header(stamp, frame.frame_id or "lidar"),
        1,
        len(data),
        fields,
        False,
        16,
        16 * len(data),
        flat,
        True,
    )


def _image(view, stamp):
    width, height = view.image_size
    return _make(
        "sensor_msgs/msg/Image",
        _header(stamp, f"{view.name}_optical"),
        height,
        width,
        "rgb8",
        0,
        3 * width,
        np.ascontiguousarray(view.image).reshape(-1),
    )


def _jpeg(view, stamp, quality):
    import cv2  # here: only who writes JPEG needs it

    _, data = cv2.imencode(".jpg", view.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _make(
        "sensor_msgs/msg/CompressedImage",
        _header(stamp, f"{view.name}_optical"),
        "rgb8; jpeg compressed bgr8",
        data.reshape(-1),
    )


def _camera_info(view, stamp):
    width, height = view.image_size
    model, coefficients = (
        (view.distortion.model, view.distortion.coefficients)
        if view.distortion
        else ("plumb_bob", (0.0,) * 5)
    )
    projection = np.column_stack((view.intrinsic, np.zeros(3)))
    region = _make("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    matrices = (
        np.array(coefficients, np.float64),
        view.intrinsic.reshape(-1),
        np.eye(3).reshape(-1),
        projection.reshape(-1),
    )
    return _make(
        "sensor_msgs/msg/CameraInfo",
        _header(stamp, f"{view.name}_optical"),
        height,
        width,
        model,
        *matrices,
        0,
        0,
        region,
    )


def _static_transforms(frame, shift):
    lidar = frame.frame_id or "lidar"
    links = [_transform(frame.stamp + shift, "base_link", lidar, np.eye(4))]
    links += [
        _transform(
            frame.stamp + shift, lidar, f"{view.name}_optical", invert(view.camera_from_lidar)
        )
        for view in frame.views
    ]
    return _make("tf2_msgs/msg/TFMessage", links)


def _transform(stamp, parent, child, parent_from_child):
    translation = _make(
        "geometry_msgs/msg/Vector3", *(float(value) for value in parent_from_child[:3, 3])
    )
    rotation = _make(
        "geometry_msgs/msg/Quaternion",
        *(float(value) for value in quaternion_from_rotation(parent_from_child[:3, :3])),
    )
    return _make(
        "geometry_msgs/msg/TransformStamped",
        _header(stamp, parent),
        child,
        _make("geometry_msgs/msg/Transform", translation, rotation),
    )

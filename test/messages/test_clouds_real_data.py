"""The conversions on real messages: a six-camera bag, and the intensities of three sensors."""

from types import SimpleNamespace

import numpy as np
import pytest
from builders.paths import DATA

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.frame import CameraView, Prediction
from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.messages.camera_info import read_camera_info
from cmdfusion_ros.messages.clouds import read_cloud, stamp_ns
from cmdfusion_ros.messages.images import decode_image
from cmdfusion_ros.messages.labelled_clouds import write_labelled_cloud
from cmdfusion_ros.messages.stamps import raw_stamp_ns
from cmdfusion_ros.messages.transforms import TransformBuffer

CAMERAS = ("front", "front_left", "front_right", "left", "right", "back")


@pytest.fixture(scope="module")
def bag():
    """First message of each topic of the bag, its stamp as read from the bytes, and a
    TransformBuffer with all of /tf and /tf_static.
    """
    path = DATA / "bags" / "pandaset_002"
    if not path.exists():
        pytest.skip(f"no real bag at {path}; set CMDFUSION_DATA")
    highlevel = pytest.importorskip("rosbags.highlevel", reason="rosbags is not installed")
    first, stamps, transforms = {}, {}, TransformBuffer()
    with highlevel.AnyReader([path]) as reader:
        for connection, _, raw in reader.messages():
            if connection.topic in ("/tf", "/tf_static"):
                assert (
                    transforms.add(
                        reader.deserialize(raw, connection.msgtype),
                        connection.topic == "/tf_static",
                    )
                    == ()
                )
            elif connection.topic not in first:
                first[connection.topic] = reader.deserialize(raw, connection.msgtype)
                stamps[connection.topic] = raw_stamp_ns(raw)
    return SimpleNamespace(first=first, stamps=stamps, transforms=transforms)


def test_the_stamp_in_the_bytes_is_the_stamp_of_the_message(bag):
    assert {
        topic: stamp_ns(message.header.stamp) for topic, message in bag.first.items()
    } == bag.stamps


def test_the_cloud_of_a_pandar64_is_read_whole(bag):
    cloud = read_cloud(bag.first["/lidar/points"])
    assert (cloud.num_points, cloud.frame_id, cloud.intensity_field, cloud.intensity_scale) == (
        105_934,
        "lidar",
        "intensity",
        1.0,
    )
    assert cloud.usable.all()
    assert 100 < np.abs(cloud.points[:, :2]).max() < 300


def test_every_camera_sees_points_through_its_own_transform(bag):
    cloud = read_cloud(bag.first["/lidar/points"])
    for camera in CAMERAS:
        info = bag.first[f"/{camera}_camera/camera_info"]
        image = decode_image(bag.first[f"/{camera}_camera/image_raw/compressed"])
        intrinsic, distortion, image_size = read_camera_info(info)
        view = CameraView(
            camera,
            image,
            intrinsic,
            bag.transforms.lookup(info.header.frame_id, cloud.frame_id),
            distortion,
        )
        assert view.image_size == image_size == (960, 540)
        visible = project_points(
            cloud.points, view.intrinsic, view.camera_from_lidar, view.image_size, view.distortion
        )[1]
        forward = cloud.points[visible].mean(0)
        assert visible.mean() > 0.05, camera
        assert (forward[0] > 0) == camera.startswith("front") or camera in ("left", "right")
        assert (forward[1] > 0) == ("left" in camera) or camera in ("front", "back")


def test_the_drive_between_two_stamps_moves_the_side_cameras_most(bag):
    cloud = read_cloud(bag.first["/lidar/points"])
    info = bag.first["/left_camera/camera_info"]
    at_one_time = bag.transforms.lookup(info.header.frame_id, "lidar")
    across = bag.transforms.lookup_full(
        info.header.frame_id, stamp_ns(info.header.stamp), "lidar", cloud.stamp, "odom"
    )
    shift = np.linalg.norm((across - at_one_time)[:3, 3])
    assert 0.05 < shift < 1.0  # 81 ms at the speed of a car in town


def test_a_real_cloud_labelled_and_read_again_is_the_same_cloud(bag):
    cloud, class_map = read_cloud(bag.first["/lidar/points"]), load_class_map("street")
    labels = (np.arange(cloud.num_points) % class_map.num_classes).astype(np.uint8)
    prediction = Prediction(
        labels, np.ones(cloud.num_points, np.float32), np.zeros(cloud.num_points, np.uint32)
    )
    payload = write_labelled_cloud(cloud, prediction, cloud.usable, class_map)
    message = SimpleNamespace(
        **{
            **vars(payload),
            "row_step": payload.point_step * payload.width,
            "header": bag.first["/lidar/points"].header,
        }
    )
    again = read_cloud(message)
    np.testing.assert_array_equal(again.points, cloud.points)
    np.testing.assert_array_equal(
        again.raw.view(np.uint32)[:, 5], class_map.raw_from_labels(labels)
    )


@pytest.mark.parametrize(
    ("path", "columns", "scale"),
    [
        ("nuscenes_frame/lidar.bin", 5, 255.0),
        ("semantickitti/sequences/00/velodyne", 4, 1.0),
        ("pandaset/002/velodyne", 4, 1.0),
    ],
)
def test_the_guessed_scale_is_right_for_real_sensors(path, columns, scale):
    found = DATA / path
    if not found.exists():
        pytest.skip(f"no real scan at {found}; set CMDFUSION_DATA")
    for scan in sorted(found.glob("*.bin"))[:5] if found.is_dir() else [found]:
        values = np.fromfile(scan, np.float32).reshape(-1, columns)
        fields = [
            SimpleNamespace(name=name, offset=4 * index, datatype=7, count=1)
            for index, name in enumerate(("x", "y", "z", "intensity"))
        ]
        message = SimpleNamespace(
            header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0), frame_id=""),
            height=1,
            width=len(values),
            fields=fields,
            is_dense=True,
            is_bigendian=False,
            point_step=4 * columns,
            row_step=4 * columns * len(values),
            data=values.tobytes(),
        )
        cloud = read_cloud(message)
        assert cloud.intensity_scale == scale
        assert 0.02 < cloud.intensity.mean() < 0.5

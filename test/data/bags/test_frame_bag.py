"""Frames written as a bag are what a robot would have recorded, with the labels beside it."""

import dataclasses

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.data.bags.bag import Bag
from cmdfusion_ros.data.bags.bag_layout import inspect_bag
from cmdfusion_ros.data.bags.frame_bag import labels_path, read_bag_labels, write_frame_bag
from cmdfusion_ros.frame import CameraView, Distortion, Frame
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation
from cmdfusion_ros.messages.clouds import read_columns
from cmdfusion_ros.messages.stamps import raw_stamp_ns

START = 1_650_000_000_000_000_000
MS = 1_000_000
STREET = load_class_map("street")
LENS = Distortion("rational_polynomial", (0.1, 0.2, 0.0, 0.0, 0.3, 0.4, 0.5, 0.6))


def frames_from(start, count=3):
    """Frames 100 ms apart with one camera, whose images are stamped 20 ms before them."""
    rng = np.random.default_rng(0)
    optical_from_lidar = rigid(
        np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]) @ yaw_rotation(0.2), (0.1, 0.2, 0.3)
    )
    intrinsic = np.array([[40.0, 0, 31], [0, 41, 23], [0, 0, 1]])
    for index in range(count):
        stamp = start + index * 100 * MS
        view = CameraView(
            "front",
            rng.integers(0, 255, (6, 8, 3)).astype(np.uint8),
            intrinsic,
            optical_from_lidar,
            LENS,
            stamp - 20 * MS,
        )
        points = rng.normal(size=(50, 3)).astype(np.float32)
        labels = rng.integers(0, STREET.num_classes, 50).astype(np.uint8)
        yield Frame(
            points,
            rng.random(50, np.float32),
            stamp,
            "velodyne",
            (view,),
            labels,
            world_from_lidar=rigid(np.eye(3), (index, 0, 0)),
        )


def test_points_images_lenses_and_places_come_back(tmp_path):
    frames = list(frames_from(START))
    assert write_frame_bag(tmp_path / "drive", frames, STREET) == 3
    layout = inspect_bag(tmp_path / "drive")
    (front,) = layout.usable_cameras
    assert (layout.num_clouds, layout.num_points, layout.cloud_frame) == (3, 50, "velodyne")
    np.testing.assert_allclose(
        front.camera_from_lidar, frames[0].views[0].camera_from_lidar, atol=1e-9
    )
    assert (
        front.info.distortion_model == LENS.model
        and tuple(front.info.d) == LENS.coefficients
        and front.info.k[4] == 41
    )
    assert front.timing.offset == pytest.approx(-20 * MS, abs=10)
    with Bag(tmp_path / "drive") as bag:
        columns = read_columns(bag.deserialize(next(bag.messages([layout.cloud_topic]))))
        picture = bag.deserialize(next(bag.messages([front.image_topic])))
        poses = [bag.deserialize(message).transforms[0] for message in bag.messages(["/tf"])]
    assert np.array_equal(np.stack([columns[name] for name in "xyz"], axis=1), frames[0].points)
    assert np.array_equal(columns["intensity"], frames[0].intensity)
    assert np.array_equal(
        picture.data.reshape(picture.height, picture.width, 3), frames[0].views[0].image
    )
    assert [
        (pose.header.frame_id, pose.child_frame_id, pose.transform.translation.x) for pose in poses
    ] == [("odom", "base_link", x) for x in (0, 1, 2)]


def test_the_labels_lie_beside_the_bag_by_stamp(tmp_path):
    frames = list(frames_from(START))
    write_frame_bag(tmp_path / "drive", frames, STREET)
    truth = read_bag_labels(tmp_path / "drive")
    assert truth.dataset == "street" and sorted(truth.raw) == [frame.stamp for frame in frames]
    for frame in frames:
        assert np.array_equal(
            STREET.labels_from_raw(truth.raw[frame.stamp], truth.dataset), frame.labels
        )


def test_stamps_that_count_from_zero_are_moved_so_that_none_means_no_stamp(tmp_path):
    write_frame_bag(tmp_path / "drive", frames_from(0), STREET)
    layout = inspect_bag(tmp_path / "drive")
    assert layout.usable_cameras[0].timing.offset == pytest.approx(-20 * MS, abs=10)
    truth = read_bag_labels(tmp_path / "drive")
    with Bag(tmp_path / "drive") as bag:
        stamps = [raw_stamp_ns(message.data) for message in bag.messages([layout.cloud_topic])]
    assert (
        stamps == sorted(truth.raw)
        and stamps[0] > 10**18
        and np.diff(stamps).tolist() == [100 * MS] * 2
    )


def test_a_view_without_a_stamp_takes_that_of_its_frame(tmp_path):
    frames = [
        dataclasses.replace(f, views=tuple(dataclasses.replace(view, stamp=0) for view in f.views))
        for f in frames_from(START)
    ]
    write_frame_bag(tmp_path / "drive", frames, STREET)
    assert inspect_bag(tmp_path / "drive").usable_cameras[0].timing.offset == 0


def test_labels_are_found_whatever_the_kind_of_bag(tmp_path):
    assert (
        labels_path("runs/drive") == labels_path("runs/drive.bag") == labels_path("runs/drive.mcap")
    )
    assert read_bag_labels(tmp_path / "unlabelled") is None


def test_labels_of_an_unknown_dataset_or_count_are_refused(tmp_path):
    np.savez(tmp_path / "drive_labels.npz", stamps_ns=np.array([1]), a=np.zeros(3, np.uint8))
    with pytest.raises(
        ValueError, match="does not say whose raw ids it holds; add an entry `dataset`"
    ):
        read_bag_labels(tmp_path / "drive")
    np.savez(
        tmp_path / "drive_labels.npz",
        stamps_ns=np.array([1, 2]),
        a=np.zeros(3, np.uint8),
        dataset=np.array("street"),
    )
    with pytest.raises(ValueError, match="one stamp for each of its 1 clouds"):
        read_bag_labels(tmp_path / "drive")

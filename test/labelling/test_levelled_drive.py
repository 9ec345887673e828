"""Drives that lie otherwise than networks know are labelled, mapped and learnt as the node sees
them.
"""

import numpy as np
import pytest
from builders.commands import cmdfusion

from cmdfusion_ros.data.synthetic.sequence import SequenceSettings, open_sequence
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.transforms import apply, invert, rigid
from cmdfusion_ros.inference import Segmenter
from cmdfusion_ros.labelling.levelled_drive import LevelledDrive
from cmdfusion_ros.messages.transforms import TransformBuffer

UP = rigid(np.eye(3), (0.0, 0.0, 1.84))  # base_link on the ground under the LiDAR
UPSIDE_DOWN = rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
LOOKS_AHEAD = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), (0.0, 0.1, 0.2))
POSE = rigid(np.eye(3), (7.0, -3.0, 0.5))


@pytest.fixture(scope="module")
def street():
    """(N, 3) float32 of one scan of a made-up street, from a LiDAR 1.84 m over it."""
    return open_sequence(1, "00", 1, SequenceSettings(rig="nuscenes", weather="day")).scan(0).points


class Recorded:
    """Two scans of a LiDAR whose clouds come moved, with a camera and poses."""

    name, names, odometry, transforms = "yard", ("yard/0", "yard/1"), "recorded", TransformBuffer()

    def __init__(self, points, cloud_from_lidar):
        self._points = np.ascontiguousarray(apply(cloud_from_lidar, points), np.float32)
        self._lidar_from_cloud = invert(cloud_from_lidar)

    def __len__(self):
        return len(self.names)

    def read(self, index, images=True, every_row=False):
        image, intrinsic = np.zeros((48, 64, 3), np.uint8), np.diag([60.0, 60, 1])
        view = CameraView("front", image, intrinsic, LOOKS_AHEAD @ self._lidar_from_cloud)
        intensity = np.linspace(0, 1, len(self._points), dtype=np.float32)
        views, pose = (view,) if images else (), POSE @ self._lidar_from_cloud
        return Frame(self._points, intensity, index, "points", views, world_from_lidar=pose)


@pytest.mark.parametrize("moved", [UP, UPSIDE_DOWN], ids=["base_link", "upside down"])
def test_points_cameras_and_poses_come_back_together(street, moved):
    drive = LevelledDrive(Recorded(street, moved))
    assert drive.placement.changes and len(drive) == 2 and drive.names[1] == "yard/1"
    frame = drive.read(0)
    lowest = np.percentile(frame.points[:, 2], 5)
    assert lowest == pytest.approx(np.percentile(street[:, 2], 5), abs=0.15)
    (view,) = frame.views  # sees, and the world has, every point where it was
    seen, placed = (apply(LOOKS_AHEAD, street), apply(POSE, street))
    np.testing.assert_allclose(apply(view.camera_from_lidar, frame.points), seen, atol=1e-3)
    np.testing.assert_allclose(apply(frame.world_from_lidar, frame.points), placed, atol=1e-3)
    assert drive.read(1, images=False).views == ()


def test_what_lies_as_networks_know_comes_as_it_is(street):
    source = Recorded(street, np.eye(4))
    drive = LevelledDrive(source)
    assert not drive.placement.changes
    np.testing.assert_array_equal(drive.read(0).points, source.read(0).points)


@pytest.mark.parametrize(
    ("moved", "unit"),
    [(UP, 1.0), (np.eye(4), 1000.0), (UPSIDE_DOWN, 1.0)],
    ids=["base_link", "millimetres", "upside down"],
)
def test_files_that_lie_otherwise_become_labelled_scans_of_the_lidar(street, tmp_path, moved, unit):
    (tmp_path / "drive").mkdir()
    points = apply(moved, street) * unit
    np.c_[points, np.full(len(points), 0.5)].astype("<f4").tofile(tmp_path / "drive" / "0.bin")
    command = ("label", tmp_path / "drive", "--out", tmp_path / "own", "--odometry", "none")
    assert cmdfusion(*command, "--format", "semantickitti", "--device", "cpu") == 0
    sequence = tmp_path / "own" / "sequences" / "drive"
    written = np.fromfile(sequence / "velodyne" / "000000.bin", "<f4").reshape(-1, 4)
    assert len(written) == len(street)  # in millimetres most are "beyond 10 km" as they stand
    for share in (5, 50, 95):
        height = np.percentile(street[:, 2], share)
        assert np.percentile(written[:, 2], share) == pytest.approx(height, abs=0.15)
    labels = np.fromfile(sequence / "labels" / "000000.label", "<u4")
    segmenter = Segmenter(device="cpu")
    answer = segmenter.segment(np.ascontiguousarray(written[:, :3]), written[:, 3].copy()).labels
    assert (segmenter.class_map.raw_from_labels(answer) == labels).mean() > 0.999

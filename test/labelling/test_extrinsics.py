"""Lens and place of cameras: calibration that comes, changes and fails, transforms that are
cached, awaited and compensated. No ROS.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from builders.messages import CALIBRATION_AHEAD

from cmdfusion_ros.config import LiveSettings
from cmdfusion_ros.geometry.transforms import invert, rigid, yaw_rotation
from cmdfusion_ros.labelling.extrinsics import Extrinsics, UncalibratedError
from cmdfusion_ros.labelling.settings import node_settings
from cmdfusion_ros.messages.clouds import MessageError
from cmdfusion_ros.messages.transforms import TransformBuffer, TransformError

SECOND = 10**9


class Clock:
    """Seconds that pass when told, and a little at each look, as they do."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        self.now += 0.001
        return self.now


class CountingBuffer(TransformBuffer):
    """A TransformBuffer that counts lookups."""

    def __init__(self):
        super().__init__()
        self.lookups = 0

    def lookup(self, target, source, stamp=0):
        self.lookups += 1
        return super().lookup(target, source, stamp)


def transforms(*links, stamp=0):
    """A TFMessage of (parent, child, (x, y, z), yaw)."""
    items = []
    for parent, child, (x, y, z), yaw in links:
        rotation = SimpleNamespace(x=0.0, y=0.0, z=np.sin(yaw / 2), w=np.cos(yaw / 2))
        items.append(
            SimpleNamespace(
                header=SimpleNamespace(
                    frame_id=parent,
                    stamp=SimpleNamespace(sec=stamp // SECOND, nanosec=stamp % SECOND),
                ),
                child_frame_id=child,
                transform=SimpleNamespace(
                    translation=SimpleNamespace(x=x, y=y, z=z), rotation=rotation
                ),
            )
        )
    return SimpleNamespace(transforms=items)


@pytest.fixture
def buffer():
    return CountingBuffer()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def build(buffer, clock):
    def make(**values):
        settings = node_settings(
            {
                "cameras": ["front"],
                **{name.replace("__", "."): value for name, value in values.items()},
            }
        )
        return Extrinsics(buffer, LiveSettings(settings), clock)

    return make


def test_a_camera_is_uncalibrated_until_its_camera_info_comes(build, messages):
    extrinsics = build()
    assert not extrinsics.calibrated("front")
    with pytest.raises(UncalibratedError, match="nothing came on front/camera_info"):
        extrinsics.geometry("front")
    assert extrinsics.take_camera_info("front", messages.camera_info())
    assert extrinsics.calibrated("front") and extrinsics.geometry("front").image_size == (64, 48)


def test_an_unchanged_camera_info_is_no_news_and_a_changed_one_is_used(build, messages):
    extrinsics = build()
    assert extrinsics.take_camera_info("front", messages.camera_info(focal=40.0))
    assert not extrinsics.take_camera_info("front", messages.camera_info(focal=40.0))
    assert extrinsics.take_camera_info("front", messages.camera_info(focal=41.0))
    assert extrinsics.geometry("front").intrinsic[0, 0] == 41.0


def test_a_camera_info_that_says_uncalibrated_takes_the_camera_out_with_its_reason(build, messages):
    extrinsics = build()
    extrinsics.take_camera_info("front", messages.camera_info())
    assert extrinsics.take_camera_info("front", messages.camera_info(focal=0.0))
    assert not extrinsics.calibrated("front")
    with pytest.raises(UncalibratedError, match="uncalibrated"):
        extrinsics.geometry("front")
    assert "uncalibrated" in extrinsics.facts("front", "lidar").missing


def test_the_frame_of_the_camera_can_be_overridden(build, messages):
    extrinsics = build(front__frame="true_optical")
    extrinsics.take_camera_info("front", messages.camera_info(frame_id="wrong"))
    assert extrinsics.geometry("front").frame_id == "true_optical"


def test_a_static_transform_is_looked_up_once_a_refresh_period(build, buffer, clock, messages):
    extrinsics = build(tf__refresh_period=5.0)
    extrinsics.take_camera_info("front", messages.camera_info())
    buffer.add(transforms(("front_optical", "lidar", (1.0, 2.0, 3.0), 0.0)), static=True)
    expected = rigid(np.eye(3), (1.0, 2.0, 3.0))
    for _ in range(3):
        np.testing.assert_allclose(
            extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND), expected
        )
    assert buffer.lookups == 1
    clock.now += 6
    extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)
    assert buffer.lookups == 2


def test_a_moved_camera_is_seen_when_tf_static_spoke(build, buffer, messages):
    extrinsics = build()
    extrinsics.take_camera_info("front", messages.camera_info())
    buffer.add(transforms(("front_optical", "lidar", (1.0, 0.0, 0.0), 0.0)), static=True)
    extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)
    buffer.add(transforms(("front_optical", "lidar", (2.0, 0.0, 0.0), 0.0)), static=True)
    extrinsics.forget()
    assert extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)[0, 3] == 2.0


def test_a_missing_transform_is_named_and_never_an_identity(build, messages):
    extrinsics = build()
    # it is the calibration that is missing
    assert extrinsics.missing_transform("front", "lidar") == ""
    extrinsics.take_camera_info("front", messages.camera_info())
    assert "front_optical" in extrinsics.missing_transform("front", "lidar")
    assert extrinsics.last_place("front", "lidar") is None
    with pytest.raises(TransformError, match="front_optical"):
        extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)


def test_a_camera_info_without_frame_id_says_which_parameter_helps(build, messages):
    extrinsics = build()
    extrinsics.take_camera_info("front", messages.camera_info(frame_id=""))
    with pytest.raises(TransformError, match="<camera>.frame"):
        extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)


def drive(buffer, vehicle):
    """A second along x at 10 m/s, as `odom` sees it."""
    for tenth in range(11):
        place = ("odom", vehicle, (float(tenth), 0.0, 0.0), 0.0)
        buffer.add(transforms(place, stamp=SECOND + tenth * 10**8), static=False)


def test_motion_between_cloud_and_image_is_taken_out_with_a_fixed_frame(build, buffer, messages):
    """The vehicle drives 10 m/s along x; lidar and camera share its frame. 100 ms after the scan
    a point 20 m ahead is 19 m ahead.
    """
    extrinsics = build(sync__fixed_frame="odom")
    extrinsics.take_camera_info("front", messages.camera_info())
    buffer.add(transforms(("lidar", "front_optical", (0.0, 0.0, 0.0), 0.0)), static=True)
    drive(buffer, "lidar")
    matrix = extrinsics.camera_from_lidar("front", "lidar", SECOND + 3 * 10**8, SECOND + 4 * 10**8)
    np.testing.assert_allclose(matrix @ (20, 0, 0, 1), (19, 0, 0, 1), atol=1e-9)
    assert extrinsics.uncompensated["front"] == 0


def test_where_motion_is_unknown_the_static_transform_serves_and_is_counted(
    build, buffer, messages
):
    extrinsics = build(sync__fixed_frame="odom")
    extrinsics.take_camera_info("front", messages.camera_info())
    buffer.add(transforms(("lidar", "front_optical", (1.0, 0.0, 0.0), 0.0)), static=True)
    matrix = extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)
    np.testing.assert_allclose(matrix, rigid(np.eye(3), (-1.0, 0.0, 0.0)))
    assert (
        extrinsics.uncompensated["front"] == 1
        and extrinsics.facts("front", "lidar").uncompensated == 1
    )


def test_the_worker_waits_for_a_late_transform_no_longer_than_the_timeout(build, clock, messages):
    extrinsics = build(tf__timeout=0.05)
    extrinsics.take_camera_info("front", messages.camera_info())
    before = clock.now
    with pytest.raises(TransformError):
        extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)
    assert 0.05 <= clock.now - before < 0.06


def test_points_can_be_given_to_the_network_in_another_frame(build, buffer):
    extrinsics = build(points__frame="base_link")
    buffer.add(transforms(("base_link", "lidar", (0.0, 0.0, 2.0), np.pi / 2)), static=True)
    np.testing.assert_allclose(
        extrinsics.frame_from_lidar("lidar", SECOND),
        rigid(yaw_rotation(np.pi / 2), (0.0, 0.0, 2.0)),
        atol=1e-12,
    )
    assert extrinsics.frame_from_lidar("base_link", SECOND) is None
    with pytest.raises(TransformError, match="radar"):
        extrinsics.frame_from_lidar("radar", SECOND)


@pytest.fixture
def calibration_file(tmp_path):
    """Of a camera at the LiDAR's origin that looks along its x."""
    path = tmp_path / "front.yaml"
    path.write_text(CALIBRATION_AHEAD)
    return str(path)


def test_a_calibration_file_with_an_extrinsic_needs_no_transform(build, calibration_file):
    extrinsics = build(front__calibration_file=calibration_file)
    assert extrinsics.missing_transform("front", "lidar") == ""
    matrix = extrinsics.camera_from_lidar("front", "lidar", SECOND, SECOND)
    # ahead of the LiDAR is along the optical axis
    np.testing.assert_allclose(matrix @ (5, 0, 0, 1), (0, 0, 5, 1))
    np.testing.assert_allclose(invert(matrix) @ matrix, np.eye(4), atol=1e-12)


def test_with_a_fixed_frame_motion_is_taken_out_of_an_extrinsic_from_a_file_too(
    build, buffer, calibration_file
):
    """10 m/s along x: what was 20 m ahead at the scan is 19 m along the optical axis 100 ms
    later. Without a frame of the camera's own.
    """
    extrinsics = build(sync__fixed_frame="odom", front__calibration_file=calibration_file)
    buffer.add(transforms(("base_link", "lidar", (1.0, 0.0, 2.0), 0.0)), static=True)
    drive(buffer, "base_link")
    matrix = extrinsics.camera_from_lidar("front", "lidar", SECOND + 3 * 10**8, SECOND + 4 * 10**8)
    np.testing.assert_allclose(matrix @ (20, 0, 0, 1), (0, 0, 19, 1), atol=1e-9)
    assert extrinsics.uncompensated["front"] == 0
    # no transform of that time: the file's place as it is
    late = extrinsics.camera_from_lidar("front", "lidar", SECOND, 9 * SECOND)
    np.testing.assert_allclose(late @ (20, 0, 0, 1), (0, 0, 20, 1), atol=1e-9)
    assert extrinsics.uncompensated["front"] == 1


def test_a_calibration_file_that_is_not_there_is_an_error(build):
    with pytest.raises(MessageError, match="no/such.yaml"):
        build(front__calibration_file="no/such.yaml")

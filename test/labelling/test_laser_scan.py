"""A labelled cloud as a 2D scan: rays, edges, heights, and the frame that its header names."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from builders.yard import HEIGHT, yard

from cmdfusion_ros.geometry.transforms import (
    apply,
    invert,
    pitch_rotation,
    rigid,
    roll_rotation,
    yaw_rotation,
)
from cmdfusion_ros.labelling.laser_scan import nearest_ranges, scan_directions, scan_frame
from cmdfusion_ros.labelling.network_frame import NetworkFrame
from cmdfusion_ros.messages.transforms import TransformBuffer, TransformError


@pytest.mark.parametrize(("degrees", "rays"), [(1.0, 360), (0.5, 720), (0.7, 515), (90.0, 4)])
def test_the_circle_is_divided_evenly(degrees, rays):
    assert scan_directions(degrees) == rays


def test_the_nearest_point_of_each_direction_counts():
    points = np.array([[3, 0, 9], [2, 0, 0], [0, 4, 0], [-5, 0, 0], [0, -6, 0]], np.float32)
    # of four rays the first looks back, then right, ahead, left
    assert nearest_ranges(points, 4, 0.0, 50.0).tolist() == [5.0, 6.0, 2.0, 4.0]


def test_a_point_just_short_of_the_back_falls_to_the_ray_that_looks_back():
    for y in (1e-4, -1e-4, 0.0, -0.0):
        ranges = nearest_ranges(np.array([[-7, y, 0]], np.float32), 720, 0.0, 50.0)
        assert ranges[0] == 7.0 and np.isinf(ranges[1:]).all()


def test_every_point_falls_to_the_ray_next_to_it():
    rng = np.random.default_rng(0)
    points = rng.uniform(-20, 20, (500, 2))
    ranges = nearest_ranges(points, 360, 0.0, 50.0)
    angles = -np.pi + np.arange(360) * 2 * np.pi / 360
    expected = np.full(360, np.inf)
    for x, y in points:  # the slow way
        apart = np.abs(np.angle(np.exp(1j * (np.arctan2(y, x) - angles))))
        expected[apart.argmin()] = min(expected[apart.argmin()], np.hypot(x, y))
    np.testing.assert_allclose(ranges, expected, rtol=1e-6)


def test_what_is_too_near_too_far_or_no_number_does_not_count():
    points = np.array(
        [[1.9, 0, 0], [10.1, 0, 0], [np.nan, 1, 0], [np.inf, 0, 0], [0, 0, 0]], np.float32
    )
    assert np.isinf(nearest_ranges(points, 8, 2.0, 10.0)).all()
    ends = np.array([[2.0, 0, 0], [0, 10.0, 0]], np.float32)
    assert np.isfinite(nearest_ranges(ends, 8, 2.0, 10.0)).sum() == 2
    assert np.isinf(nearest_ranges(np.empty((0, 3), np.float32), 8, 0.0, 10.0)).all()


# ---- the frame

NOWHERE = SimpleNamespace(transform=lambda target, source: pytest.fail("no transform is needed"))


def placed(labelled, cloud_from_sensor, scale=1.0):
    """The yard as clouds come whose frame lies so to the sensor, after leveling looked at it."""
    points = (apply(cloud_from_sensor, yard()) / np.float32(scale)).astype(np.float32)
    frame = NetworkFrame(TransformBuffer())
    frame.take(points, "lidar", 0)
    back = invert(frame.network_from_cloud(points, 0)) if frame.placement.changes else None
    cloud = dataclasses.replace(labelled.cloud, points=points, frame_id="lidar")
    return dataclasses.replace(
        labelled, cloud=cloud, placement=frame.placement, cloud_from_network=back
    )


@pytest.mark.parametrize(
    ("cloud_from_sensor", "scale", "direction"),
    [
        (np.eye(4), 1.0, 0.0),
        (np.eye(4), 0.001, 0.0),
        (rigid(roll_rotation(np.pi), np.zeros(3)), 1.0, 0.0),  # hangs upside down
        (rigid(roll_rotation(np.pi) @ yaw_rotation(np.pi / 2), np.zeros(3)), 1.0, -np.pi / 2),
    ],
    ids=["upright", "millimetres", "upside down", "upside down and turned"],
)
def test_a_level_frame_shows_the_post_and_not_the_ground(
    labelled, cloud_from_sensor, scale, direction
):
    it = placed(labelled, cloud_from_sensor, scale)
    frame_id, points, heights = scan_frame(it, "", NOWHERE)
    assert frame_id == "lidar"
    assert np.percentile(heights, 5) == pytest.approx(0.0, abs=0.05)
    assert heights.max() == pytest.approx(HEIGHT + 1.0, abs=0.05)
    found = nearest_ranges(points[(heights > 0.2) & (heights < 2.0)], 360, 0.5, 50.0)
    seen = np.flatnonzero(np.isfinite(found))
    assert len(seen) == 1 and found[seen[0]] == pytest.approx(6.0, abs=0.01)
    assert np.radians(seen[0]) - np.pi == pytest.approx(direction, abs=np.radians(1))


@pytest.mark.parametrize(
    ("cloud_from_sensor", "why"),
    [
        (rigid(pitch_rotation(np.radians(-20)), np.zeros(3)), "tilted by 20 degrees"),
        (rigid(roll_rotation(np.pi / 2), np.zeros(3)), "tilted by 90 degrees"),
        (rigid(np.eye(3), (40.0, 0, HEIGHT)), "begins 40 m from the sensor"),
    ],
    ids=["tilted", "on its side", "in a map"],
)
def test_a_frame_that_would_lie_is_refused_until_a_level_one_is_named(
    labelled, cloud_from_sensor, why
):
    it = placed(labelled, cloud_from_sensor)
    with pytest.raises(TransformError, match=f"'lidar'.* {why}; set scan.frame"):
        scan_frame(it, "", NOWHERE)
    base_from_sensor = rigid(np.eye(3), (0.5, 0, HEIGHT))
    extrinsics = SimpleNamespace(
        transform=lambda target, source: base_from_sensor @ invert(cloud_from_sensor)
    )
    frame_id, points, heights = scan_frame(it, "base_footprint", extrinsics)
    assert frame_id == "base_footprint"
    found = nearest_ranges(points[(heights > 0.2) & (heights < 2.0)], 360, 0.5, 50.0)
    seen = np.flatnonzero(np.isfinite(found))
    assert seen.tolist() == [180] and found[180] == pytest.approx(6.5, abs=0.01)


def test_without_a_known_ground_a_frame_must_be_named_which_may_be_the_cloud_s_own(labelled):
    with pytest.raises(TransformError, match="how high it is over the ground is not known"):
        scan_frame(labelled, "", NOWHERE)  # leveling is off
    frame_id, points, heights = scan_frame(labelled, "lidar", NOWHERE)
    assert frame_id == "lidar"
    np.testing.assert_array_equal(points, labelled.cloud.points)
    np.testing.assert_array_equal(heights, labelled.cloud.points[:, 2])

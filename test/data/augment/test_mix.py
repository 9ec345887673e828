"""Scans mixed with others: every point comes from one of them with its label, and what is
foreign is in no image and no thing.
"""

import numpy as np
import pytest

from cmdfusion_ros.data.augment.mix import join, laser_mix, paste_instances, polar_mix, select
from cmdfusion_ros.frame import CameraView, Frame
from cmdfusion_ros.geometry.projection import project_points

ROAD, WALL, CAR = 0, 4, 8


def make_scan(seed, intensity, views=(), num_points=600):
    """Points all around; `intensity` says which scan a point came from."""
    rng = np.random.default_rng(seed)
    points = (rng.normal(0, 8, (num_points, 3)) * (1, 1, 0.2)).astype(np.float32)
    labels = rng.integers(0, 12, num_points).astype(np.uint8)
    ids = rng.integers(0, 5, num_points).astype(np.uint16)
    origin = np.arange(num_points, dtype=np.int32)
    return Frame(
        points,
        np.full(num_points, intensity, np.float32),
        views=views,
        labels=labels,
        instance_ids=ids,
        origin=origin,
        name=f"scan {seed}",
    )


def camera():
    camera_from_lidar = np.eye(4)
    camera_from_lidar[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    return CameraView(
        "front",
        np.zeros((40, 60, 3), np.uint8),
        np.array([[30.0, 0, 30], [0, 30, 20], [0, 0, 1]]),
        camera_from_lidar,
    )


def rows_in(points, frame):
    """For each point its row in `frame`, which holds it exactly."""
    table = {tuple(point): row for row, point in enumerate(frame.points)}
    return np.array([table[tuple(point)] for point in points])


def assert_made_of(mixed, frame, other):
    foreign = mixed.intensity == other.intensity[0]
    np.testing.assert_array_equal(mixed.origin >= 0, ~foreign)
    for mask, source in ((~foreign, frame), (foreign, other)):
        rows = rows_in(mixed.points[mask], source)
        assert len(np.unique(rows)) == len(rows)
        np.testing.assert_array_equal(mixed.labels[mask], source.labels[rows])
    np.testing.assert_array_equal(mixed.points[~foreign], frame.points[mixed.origin[~foreign]])
    assert not mixed.instance_ids[foreign].any()
    return foreign


def test_bands_of_elevation_come_in_turn_from_either_scan():
    frame, other = make_scan(0, 0.1), make_scan(1, 0.9)
    for seed in range(6):
        mixed = laser_mix(frame, other, 4, np.random.default_rng(seed))
        foreign = assert_made_of(mixed, frame, other)
        elevation = np.arctan2(mixed.points[:, 2], np.hypot(mixed.points[:, 0], mixed.points[:, 1]))
        order = np.argsort(elevation)
        # four bands, so it changes three times
        assert np.count_nonzero(np.diff(foreign[order])) == 3


def test_half_of_the_azimuths_come_from_the_other_scan():
    frame, other = make_scan(0, 0.1), make_scan(1, 0.9)
    mixed = polar_mix(frame, other, start=0.5, width=np.pi)
    foreign = assert_made_of(mixed, frame, other)
    azimuth = (np.arctan2(mixed.points[:, 1], mixed.points[:, 0]) - 0.5) % (2 * np.pi)
    np.testing.assert_array_equal(foreign, azimuth < np.pi)


def test_a_scan_mixed_with_itself_stays():
    frame = make_scan(0, 0.1)
    for mixed in (
        laser_mix(frame, frame, 5, np.random.default_rng(0)),
        polar_mix(frame, frame, 1.0, 2.0),
    ):
        assert (
            set(map(tuple, mixed.points)) == set(map(tuple, frame.points))
            and mixed.num_points == frame.num_points
        )


def test_foreign_points_are_in_no_image():
    frame, other = make_scan(0, 0.1, views=(camera(),)), make_scan(1, 0.9, views=(camera(),))
    mixed = polar_mix(frame, other, 0.0, np.pi)
    view = mixed.views[0]
    _, visible = project_points(
        mixed.measured_points, view.intrinsic, view.camera_from_lidar, view.image_size
    )
    assert visible.any() and not visible[mixed.intensity > 0.5].any()


def thing_scan():
    """A box of 40 points with id 7 that stands 10 m ahead."""
    rng = np.random.default_rng(3)
    points = (rng.uniform(-0.5, 0.5, (40, 3)) + (10, 0, 0.5)).astype(np.float32)
    return Frame(
        points,
        np.full(40, 0.9, np.float32),
        labels=np.full(40, CAR, np.uint8),
        instance_ids=np.full(40, 7, np.uint16),
        name="things",
    )


def ground_scan(label=ROAD, height=-1.7, wall=False):
    rng = np.random.default_rng(4)
    points = np.c_[rng.uniform(-15, 15, (6000, 2)), np.full(6000, height)].astype(np.float32)
    labels = np.full(len(points), label, np.uint8)
    if wall:
        points = np.concatenate([points, points + (0, 0, 1)]).astype(np.float32)
        labels = np.concatenate([labels, np.full(len(labels), WALL, np.uint8)])
    return Frame(points, np.full(len(points), 0.1, np.float32), labels=labels, name="ground")


def test_a_thing_is_put_on_the_ground_at_its_own_distance():
    ground = ground_scan()
    pasted = paste_instances(ground, thing_scan(), [CAR], [ROAD], 3, np.random.default_rng(0))
    car = pasted.points[pasted.labels == CAR]
    assert len(car) == 40 and car[:, 2].min() == pytest.approx(-1.7, abs=1e-5)
    np.testing.assert_allclose(
        np.sort(np.hypot(car[:, 0], car[:, 1])),
        np.sort(np.hypot(*thing_scan().points[:, :2].T)),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "ground", [ground_scan(label=WALL), ground_scan(wall=True)], ids=["no ground", "occupied"]
)
def test_a_thing_is_not_put_where_it_cannot_stand(ground):
    assert (
        paste_instances(ground, thing_scan(), [CAR], [ROAD], 3, np.random.default_rng(0)) is ground
    )


def test_a_thing_of_few_points_or_another_class_is_not_taken():
    few = select(thing_scan(), np.arange(10))
    assert (
        paste_instances(ground_scan(), few, [CAR], [ROAD], 3, np.random.default_rng(0)).num_points
        == 6000
    )
    assert (
        paste_instances(
            ground_scan(), thing_scan(), [WALL], [ROAD], 3, np.random.default_rng(0)
        ).num_points
        == 6000
    )


def test_missing_ids_and_labels_are_named():
    with pytest.raises(ValueError, match="frame ground: has no instance ids"):
        paste_instances(thing_scan(), ground_scan(), [CAR], [ROAD], 3, np.random.default_rng(0))
    bare = Frame(np.zeros((1, 3), np.float32), np.zeros(1, np.float32), name="bare")
    with pytest.raises(ValueError, match="frame things: has labels, bare has none"):
        join(thing_scan(), bare)

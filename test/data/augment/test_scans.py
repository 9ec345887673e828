"""Augmentation: each change by hand-worked values, labels stay with their points, the same
generator gives the same scan.
"""

import dataclasses

import numpy as np
import pytest
from builders.scan_changes import augment

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError, settings_from_dict
from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.data.augment.random_changes import AugmentSettings
from cmdfusion_ros.data.augment.scans import (
    change_intensity,
    crop_sector,
    drop_points,
    fill_ground,
    flip,
    jitter,
    paste_turned,
    rotate,
    scale,
    shift,
    thin_beams,
    tilt,
    without_intensity,
)
from cmdfusion_ros.frame import IGNORE_LABEL, CameraView, Frame
from cmdfusion_ros.geometry.transforms import apply, rigid, yaw_rotation

STREET = load_class_map("street")
EVERYTHING = AugmentSettings(
    paste=("person", "two_wheeler"),
    fill=("road",),
    fill_chance=0.5,
    sector=270.0,
    yaw=180.0,
    flip=0.5,
    scale=0.1,
    shift=0.2,
    shift_z=(-0.5, 0.5),
    point_dropout=0.3,
    thin_chance=0.5,
    tilt=2.0,
    intensity_dropout=0.2,
    intensity_part_dropout=0.5,
    intensity_gain=2.0,
    intensity_gamma=2.0,
)


def make_frame(num_points=500, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 12, num_points).astype(np.uint8)
    points = rng.normal(0, 10, (num_points, 3)).astype(np.float32)
    pose = rigid(yaw_rotation(0.4), np.array([5.0, -2.0, 1.0]))
    rows = np.arange(num_points, dtype=np.uint16)
    return Frame(
        points,
        rng.random(num_points, np.float32),
        labels=labels,
        instance_ids=rows,
        world_from_lidar=pose,
        name="made",
    )


def test_a_sensor_that_nods_sees_the_road_ahead_rise():
    ahead = Frame(np.array([[10, 0, -2], [0, 10, -2]], np.float32), np.ones(2, np.float32))
    pitched = tilt(ahead, 0.0, np.radians(-3)).points
    assert pitched[0, 2] == pytest.approx(-2 * np.cos(np.radians(3)) + 10 * np.sin(np.radians(3)))
    assert pitched[1, 2] == pytest.approx(-2 * np.cos(np.radians(3)))
    rolled = tilt(ahead, np.radians(3), 0.0).points
    assert rolled[1, 2] > -1.5 and rolled[0, 2] == pytest.approx(-2 * np.cos(np.radians(3)))


def test_a_tilted_scan_keeps_its_points_in_the_world():
    frame = make_frame()
    tilted = tilt(frame, 0.1, -0.05)
    world = apply(frame.world_from_lidar, frame.points)
    assert np.allclose(apply(tilted.world_from_lidar, tilted.points), world, atol=1e-4)


def test_intensities_or_their_ranks_can_be_missing_one_by_one():
    frame = dataclasses.replace(make_frame(), intensity_rank=np.linspace(0, 1, 500, dtype="f4"))
    settings = AugmentSettings(intensity_part_dropout=1.0)
    seen = set()
    for seed in range(20):
        changed = augment(frame, settings, np.random.default_rng(seed), STREET)
        has = bool(changed.intensity.any()), bool(np.ptp(changed.intensity_rank))
        assert has in ((True, False), (False, True))
        seen.add(has)
    assert len(seen) == 2


def test_a_quarter_turn_takes_forward_to_left():
    frame = rotate(Frame(np.array([[1, 0, 5]], np.float32), np.ones(1, np.float32)), np.pi / 2)
    np.testing.assert_allclose(frame.points, [[0, 1, 5]], atol=1e-6)


@pytest.mark.parametrize(
    "move",
    [lambda frame: rotate(frame, 0.7), lambda frame: shift(frame, (1, 2, 3))],
    ids=["turn", "shift"],
)
def test_a_moved_sensor_sees_the_same_world(move):
    frame = make_frame()
    moved = move(frame)
    assert np.abs(moved.points - frame.points).max() > 0.5
    np.testing.assert_allclose(
        apply(moved.world_from_lidar, moved.points),
        apply(frame.world_from_lidar, frame.points),
        atol=1e-4,
    )


def test_two_mirrors_are_a_half_turn_and_two_scales_cancel():
    frame = make_frame()
    np.testing.assert_allclose(
        flip(flip(frame, 0), 1).points, rotate(frame, np.pi).points, atol=1e-4
    )
    np.testing.assert_allclose(scale(scale(frame, 2.0), 0.5).points, frame.points)
    assert flip(frame, 0).world_from_lidar is None and scale(frame, 2.0).world_from_lidar is None


def test_dropping_points_keeps_what_belongs_to_the_others():
    frame = make_frame()
    kept = drop_points(frame, 0.5, np.random.default_rng(1))
    assert 200 < kept.num_points < 300
    rows = kept.instance_ids  # made equal to the row numbers
    np.testing.assert_array_equal(kept.points, frame.points[rows])
    np.testing.assert_array_equal(kept.labels, frame.labels[rows])
    np.testing.assert_array_equal(kept.intensity, frame.intensity[rows])


def test_a_sector_around_labels_holds_one_in_its_middle():
    """Where a drive's teacher labelled a twelfth of a scan, most sectors drawn anywhere miss it."""
    azimuth = np.linspace(-np.pi, np.pi, 720, endpoint=False)
    points = 10 * np.column_stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth])
    labels = np.where(np.abs(azimuth - 2.9) < 0.2, 0, IGNORE_LABEL).astype(np.uint8)
    frame = Frame(points.astype(np.float32), np.zeros(720, np.float32), labels=labels)
    for seed in range(20):
        settings = AugmentSettings(sector=60.0, sector_around="labels")
        kept = augment(frame, settings, np.random.default_rng(seed), STREET)
        assert kept.num_points == pytest.approx(120, abs=1)
        middle = kept.points.mean(0)
        assert abs(np.arctan2(middle[1], middle[0]) - 2.9) < 0.21
    unlabelled = dataclasses.replace(frame, labels=np.full(720, IGNORE_LABEL, np.uint8))
    rng = np.random.default_rng(0)
    assert augment(unlabelled, settings, rng, STREET).num_points > 100


def test_a_sector_lies_where_the_scan_is():
    """Of a LiDAR that looks ahead, three in four sectors drawn anywhere held next to nothing."""
    azimuth = np.linspace(-np.pi / 6, np.pi / 6, 600)
    points = 10 * np.column_stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth])
    frame = Frame(points.astype(np.float32), np.zeros(600, np.float32))
    kept = [
        augment(frame, AugmentSettings(sector=60.0), np.random.default_rng(seed), STREET)
        for seed in range(40)
    ]
    # a quarter of what an even scan would have there
    assert min(each.num_points for each in kept) >= 600 * 60 / 360 / 4
    assert len({each.num_points for each in kept}) > 10


def test_a_sector_opens_counter_clockwise_and_may_cross_the_back():
    forward, left, back, right = ((1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0))
    frame = Frame(
        np.array([forward, left, back, right], np.float32),
        np.zeros(4, np.float32),
        labels=np.arange(4, dtype=np.uint8),
    )
    assert crop_sector(frame, np.radians(-10), np.radians(110)).labels.tolist() == [0, 1]
    assert crop_sector(frame, np.radians(170), np.radians(120)).labels.tolist() == [2, 3]


def test_pasted_copies_stand_elsewhere_at_the_same_distance_with_their_label():
    points = np.array([[10, 0, -1], [0, 5, 0], [3, 4, 2]], np.float32)
    frame = Frame(
        points, np.array([0.1, 0.2, 0.3], np.float32), labels=np.array([7, 1, 7], np.uint8)
    )
    pasted = paste_turned(frame, [7], [np.pi / 2, np.pi])
    assert pasted.labels.tolist() == [7, 1, 7, 7, 7, 7, 7]
    np.testing.assert_allclose(pasted.points[:3], points)
    np.testing.assert_allclose(
        pasted.points[3:], [[0, 10, -1], [-4, 3, 2], [-10, 0, -1], [-3, -4, 2]], atol=1e-5
    )
    np.testing.assert_allclose(pasted.intensity, [0.1, 0.2, 0.3, 0.1, 0.3, 0.1, 0.3])
    assert paste_turned(frame, [5], [1.0]).num_points == 3


def test_filled_ground_lies_between_ground_points_of_its_label():
    """Two rings of road 1.5 m apart on a slope, sidewalk beyond: new points lie on the slope,
    between the rings, and none on the wall.
    """
    rng = np.random.default_rng(0)
    angle = rng.uniform(-np.pi, np.pi, 900)
    radius = np.repeat([5.0, 6.5, 9.0], 300)
    labels = np.repeat(np.array([0, 0, 1], np.uint8), 300)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    ground = Frame(
        np.stack([x, y, 0.1 * x - 2], axis=1).astype(np.float32),
        np.full(900, 0.5, np.float32),
        labels=labels,
    )
    filled = fill_ground(ground, [0], 2.0, rng)
    new, new_labels = filled.points[900:], filled.labels[900:]
    assert len(new) == 1200 and (new_labels == 0).all()
    np.testing.assert_array_equal(filled.points[:900], ground.points)
    np.testing.assert_allclose(new[:, 2], 0.1 * new[:, 0] - 2, atol=1e-4)
    distance = np.hypot(new[:, 0], new[:, 1])
    assert distance.min() > 4.5 and distance.max() < 6.51
    assert (np.abs(distance - 5.75) < 0.5).sum() > 200  # between the rings, where there was nothing
    assert fill_ground(ground, [4], 2.0, rng).num_points == 900


def test_thinned_beams_go_as_a_whole():
    """32 beams 1 degree apart, bands of 2 degrees half kept: every second beam remains, with all
    its points.
    """
    beams = np.radians(np.arange(-16, 16) + 0.5)
    azimuth = np.linspace(-np.pi, np.pi, 50, endpoint=False)
    ring = np.repeat(np.arange(32), 50)
    elevation, angle = beams[ring], np.tile(azimuth, 32)
    distance = 20.0
    points = distance * np.stack(
        [np.cos(elevation) * np.cos(angle), np.cos(elevation) * np.sin(angle), np.sin(elevation)],
        axis=1,
    )
    frame = Frame(
        points.astype(np.float32), np.zeros(len(points), np.float32), labels=ring.astype(np.uint8)
    )
    kept = thin_beams(frame, np.radians(2.0), keep=0.5, phase=0.0)
    np.testing.assert_array_equal(np.bincount(kept.labels, minlength=32), np.tile([50, 0], 16))


def test_intensity_is_raised_then_multiplied_then_cut():
    frame = Frame(np.zeros((3, 3), np.float32), np.array([0.0, 0.5, 1.0], np.float32))
    np.testing.assert_allclose(change_intensity(frame, 2.0, 2.0).intensity, [0.0, 0.5, 1.0])
    np.testing.assert_allclose(change_intensity(frame, 0.5, 1.0).intensity, [0.0, 0.25, 0.5])
    assert not without_intensity(frame).intensity.any()


def test_no_settings_change_nothing():
    frame = make_frame()
    same = augment(frame, AugmentSettings(), np.random.default_rng(0), STREET)
    np.testing.assert_allclose(same.points, frame.points, atol=1e-6)
    np.testing.assert_array_equal(same.intensity, frame.intensity)
    np.testing.assert_array_equal(same.labels, frame.labels)


def test_the_same_generator_gives_the_same_scan_and_the_frame_stays():
    frame = make_frame()
    before = frame.points.copy()
    scans = [augment(frame, EVERYTHING, np.random.default_rng([3, 7]), STREET) for _ in range(2)]
    np.testing.assert_array_equal(scans[0].points, scans[1].points)
    np.testing.assert_array_equal(frame.points, before)
    other = augment(frame, EVERYTHING, np.random.default_rng([3, 8]), STREET)
    assert other.num_points != scans[0].num_points or not np.array_equal(
        other.points, scans[0].points
    )


def test_labels_stay_with_their_points_and_changes_stay_in_bounds():
    """Distances from the axis tell which point is which: turns and mirrors keep them, scale and
    shift are held small.
    """
    # copies belong to no thing
    settings = dataclasses.replace(
        EVERYTHING, scale=0.0, shift=0.0, tilt=0.0, fill_chance=0.0, paste=()
    )
    frame = make_frame()
    for step in range(20):
        changed = augment(frame, settings, np.random.default_rng(step), STREET)
        rows = changed.instance_ids
        np.testing.assert_allclose(
            np.hypot(*changed.points[:, :2].T), np.hypot(*frame.points[rows, :2].T), atol=1e-3
        )
        np.testing.assert_array_equal(changed.labels, frame.labels[rows])
        raised = changed.points[:, 2] - frame.points[rows, 2]
        assert raised.std() < 1e-4 and -0.5 <= raised.mean() <= 0.5
        assert 0 <= changed.intensity.min() and changed.intensity.max() <= 1


def test_an_empty_scan_stays_empty():
    empty = select(make_frame(), slice(0, 0))
    assert augment(empty, EVERYTHING, np.random.default_rng(0), STREET).num_points == 0


def with_view(frame):
    return dataclasses.replace(
        frame, views=(CameraView("front", np.zeros((4, 4, 3), np.uint8), np.eye(3), np.eye(4)),)
    )


def test_a_scan_with_views_keeps_where_its_points_were_measured():
    """Intensity tells which point is which. Whatever happens to a point, its place in the images
    is that of the untouched scan, or none if it was added.
    """
    settings = dataclasses.replace(
        EVERYTHING, intensity_dropout=0.0, intensity_gain=1.0, intensity_gamma=1.0, fill_chance=1.0
    )
    frame = dataclasses.replace(
        make_frame(), intensity=np.linspace(0, 1, make_frame().num_points, dtype=np.float32)
    )
    changed = augment(with_view(frame), settings, np.random.default_rng(3), STREET)
    assert changed.measured_points.shape == changed.points.shape
    rows = np.searchsorted(frame.intensity, changed.intensity)
    added = np.isnan(changed.measured_points).any(axis=1)
    assert 0 < added.sum() < len(added)
    np.testing.assert_array_equal(changed.measured_points[~added], frame.points[rows[~added]])
    assert not np.allclose(changed.points[~added], changed.measured_points[~added], atol=1e-2)
    again = rotate(changed, 1.0)
    np.testing.assert_array_equal(again.measured_points, changed.measured_points)


def test_a_scan_without_views_carries_no_second_copy_of_its_points():
    assert (
        augment(make_frame(), EVERYTHING, np.random.default_rng(0), STREET).measured_points is None
    )


def test_wrong_settings_are_named():
    with pytest.raises(SettingsError, match="shift_z: expected lowest first"):
        settings_from_dict(AugmentSettings, {"shift_z": [1.0, 0.0]})
    with pytest.raises(SettingsError, match="fill_chance: expected classes of flat ground"):
        AugmentSettings(fill_chance=0.5)
    with pytest.raises(SettingsError, match="yaw: expected at most 180"):
        AugmentSettings(yaw=200.0)


def test_noise_moves_points_by_its_size_and_not_the_pose_or_what_images_show():
    frame = with_view(make_frame(num_points=4000))
    noisy = jitter(frame, 0.05, np.random.default_rng(0))
    moved = noisy.points - frame.points
    assert moved.std() == pytest.approx(0.05, rel=0.05) and np.abs(moved).max() <= 0.1501
    np.testing.assert_array_equal(noisy.measured_points, frame.points)
    np.testing.assert_array_equal(noisy.world_from_lidar, frame.world_from_lidar)


def test_another_scan_is_read_only_when_it_is_mixed_in():
    settings = AugmentSettings(laser_mix=0.5, polar_mix=0.5)
    reads = []

    def another():
        reads.append(1)
        return make_frame(seed=5)

    counts = []
    for step in range(30):
        before = len(reads)
        augment(make_frame(), settings, np.random.default_rng(step), STREET, another)
        counts.append(len(reads) - before)
    assert set(counts) == {0, 1, 2}
    with pytest.raises(SettingsError, match="instances: expected classes"):
        AugmentSettings(instances=3)

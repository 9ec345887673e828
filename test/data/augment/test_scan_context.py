"""Several clouds of one scan: sweeps land where they were, things of earlier scans land on
themselves or are left out.
"""

from dataclasses import replace

import numpy as np
import pytest

from cmdfusion_ros.class_map import load_class_map
from cmdfusion_ros.config import SettingsError
from cmdfusion_ros.data.augment.scan_context import (
    MAX_GAP,
    ViewSettings,
    add_sweeps,
    align_thing,
    fuse_instances,
)
from cmdfusion_ros.frame import IGNORE_LABEL, Frame
from cmdfusion_ros.geometry.transforms import apply, invert, rigid, yaw_rotation

STREET = load_class_map("street")
PERSON, CAR, ROAD = (STREET.label(name) for name in ("person", "car", "road"))


def corner(seed, num_points=300):
    """Two walls that meet: a thing with a shape, 2 m by 1 m by 1 m."""
    rng = np.random.default_rng(seed)
    u, z = rng.random((2, num_points))
    first = np.c_[2 * u - 1, np.zeros(num_points), z]
    second = np.c_[np.full(num_points, -1.0), u, z]
    return np.where(rng.random((num_points, 1)) < 0.6, first, second).astype(np.float32)


def world_frame(pose, seed=0, thing_at=(8.0, 3.0, 0.0), thing_id=7):
    """Ground, a standing corner (person, of all things) and the vehicle itself, as seen from a
    LiDAR with this pose in the world.
    """
    rng = np.random.default_rng(seed)
    ground = np.c_[rng.uniform(-20, 20, (400, 2)), np.full(400, -1.7)]
    own = rng.uniform(-0.4, 0.4, (20, 3))
    seen = [apply(invert(pose), points) for points in (ground, corner(seed) + np.array(thing_at))]
    points = np.concatenate([*seen, own]).astype(np.float32)
    labels = np.repeat(np.array([ROAD, PERSON, CAR], np.uint8), (400, 300, 20))
    ids = np.repeat(np.array([0, thing_id, 0], np.uint16), (400, 300, 20))
    origin = np.arange(len(points), dtype=np.int32)
    return Frame(
        points,
        np.full(len(points), 0.5, np.float32),
        labels=labels,
        instance_ids=ids,
        world_from_lidar=pose,
        origin=origin,
        name=f"scan {seed}",
    )


POSES = [
    rigid(yaw_rotation(0.1 * step), np.array([1.0 * step, 0.2 * step, 0.0])) for step in range(5)
]


def test_sweeps_land_where_they_were_seen_and_have_no_labels():
    frame, others = world_frame(POSES[4], 4), [world_frame(POSES[step], step) for step in (3, 2)]
    swept = add_sweeps(frame, others)
    added = swept.origin < 0
    # the vehicle itself is left out
    assert (
        np.count_nonzero(added) == pytest.approx(2 * 700, abs=8)
        and np.count_nonzero(~added) == frame.num_points
    )
    assert (swept.labels[added] == IGNORE_LABEL).all() and not swept.instance_ids[added].any()
    heights = apply(frame.world_from_lidar, swept.points[added])[:, 2]
    assert np.isclose(heights, -1.7, atol=1e-4).mean() > 0.5  # the ground lies on the ground
    np.testing.assert_array_equal(swept.points[~added], frame.points)


@pytest.mark.parametrize("align", ["pose", "centroid", "icp"])
def test_a_standing_thing_is_completed_by_its_earlier_points(align):
    frame, others = (
        world_frame(POSES[4], 4),
        [world_frame(POSES[step], step) for step in (3, 2, 1, 0)],
    )
    fused = fuse_instances(frame, others, [PERSON], align)
    added = fused.origin < 0
    assert (
        np.count_nonzero(added) == 4 * 300
        and (fused.labels[added] == PERSON).all()
        and (fused.instance_ids[added] == 7).all()
    )
    in_world = apply(POSES[4], fused.points[added]) - np.array((8.0, 3.0, 0.0))
    # distance to the two walls
    off = np.minimum(np.abs(in_world[:, 1]), np.abs(in_world[:, 0] + 1))
    assert np.median(off) < {"pose": 1e-3, "centroid": 0.15, "icp": 0.05}[align]


def test_a_walking_thing_is_followed_by_icp_and_refused_by_pose():
    frame = world_frame(POSES[4], 4)
    other = world_frame(POSES[3], 3, thing_at=(6.5, 3.5, 0.0))
    assert fuse_instances(frame, [other], [PERSON], "pose") is frame
    fused = fuse_instances(frame, [other], [PERSON], "icp")
    in_world = apply(POSES[4], fused.points[fused.origin < 0]) - np.array((8.0, 3.0, 0.0))
    assert (
        len(in_world) == 300
        and np.median(np.minimum(np.abs(in_world[:, 1]), np.abs(in_world[:, 0] + 1))) < 0.06
    )


def test_icp_finds_a_turn_that_means_do_not():
    target = corner(0)
    centre = target.mean(0)
    source = ((corner(1) - centre) @ yaw_rotation(0.25).T + centre + (0.2, -0.1, 0.05)).astype(
        np.float32
    )
    by_icp, by_means = align_thing(source, target, "icp"), align_thing(source, target, "centroid")

    def off(points):
        return np.median(np.minimum(np.abs(points[:, 1]), np.abs(points[:, 0] + 1)))

    assert off(by_icp) < 0.03 < off(by_means)


def test_what_does_not_fit_is_left_out():
    target = corner(0)
    spread = (np.random.default_rng(0).normal(0, 3, (200, 3))).astype(np.float32)
    for align in ("pose", "centroid", "icp"):
        assert align_thing(spread, target, align) is None
    assert MAX_GAP == 0.3


def test_nothing_is_added_by_other_ids_other_classes_or_no_scans():
    frame = world_frame(POSES[4], 4)
    assert fuse_instances(frame, [world_frame(POSES[3], 3, thing_id=9)], [PERSON], "icp") is frame
    assert fuse_instances(frame, [world_frame(POSES[3], 3)], [CAR], "icp") is frame
    assert fuse_instances(frame, [], [PERSON], "icp") is frame


def test_settings_say_which_scans_they_need_and_contradictions_are_named():
    settings = ViewSettings("instance_fused", previous=4, classes=("person",))
    assert settings.offsets == (-1, -2, -3, -4) and ViewSettings(
        "multi_sweep", previous=1, following=2
    ).offsets == (-1, 1, 2)
    frame = world_frame(POSES[4], 4)
    assert (
        settings.apply(frame, [world_frame(POSES[3], 3)], STREET).num_points
        == frame.num_points + 300
    )
    assert ViewSettings().apply(frame, [], STREET) is frame
    sweeps, fused = {"kind": "multi_sweep"}, {"kind": "instance_fused"}
    for wrong in (
        {"previous": 1},
        sweeps,
        {**fused, "previous": 1},
        {**sweeps, "previous": 1, "classes": ("car",)},
    ):
        with pytest.raises(SettingsError, match="view: kind"):
            ViewSettings(**wrong)


def test_missing_poses_and_ids_are_named():
    frame = world_frame(POSES[4], 4)
    with pytest.raises(ValueError, match="frame scan 3: has no pose"):
        add_sweeps(frame, [replace(world_frame(POSES[3], 3), world_from_lidar=None)])
    with pytest.raises(ValueError, match="frame scan 3: has no instance ids"):
        fuse_instances(
            frame, [replace(world_frame(POSES[3], 3), instance_ids=None)], [PERSON], "icp"
        )

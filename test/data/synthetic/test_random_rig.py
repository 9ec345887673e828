"""Sensors drawn from a seed: within what is said of them, equal for equal seeds, seen in scans."""

import numpy as np
import pytest

from cmdfusion_ros.data.synthetic.lidar import _reported, lidar_pose
from cmdfusion_ros.data.synthetic.places import PLACES
from cmdfusion_ros.data.synthetic.random_rig import random_rig
from cmdfusion_ros.data.synthetic.rays import SpinRays
from cmdfusion_ros.data.synthetic.rigs import LidarRig
from cmdfusion_ros.data.synthetic.sequence import Sequence, SequenceSettings
from cmdfusion_ros.data.synthetic.world import World, WorldSettings


def rigs(count):
    return [random_rig(np.random.default_rng(seed)) for seed in range(count)]


def test_random_rigs_keep_to_their_ranges_and_use_them():
    lidars = [rig.lidar for rig in rigs(300)]
    for lidar in lidars:
        assert 12 <= len(lidar.elevation) <= 128 and list(lidar.elevation) == sorted(
            lidar.elevation, reverse=True
        )
        assert 0.4 <= lidar.height <= 3.5 and (lidar.field == 360 or 60 <= lidar.field <= 120)
        assert len(lidar.elevation) * lidar.columns * (lidar.field / 360) ** 0.5 < 126_000
    assert min(lidar.height for lidar in lidars) < 0.7
    assert max(lidar.height for lidar in lidars) > 3.2
    assert {16, 32, 40, 64, 128} <= {len(lidar.elevation) for lidar in lidars}
    assert 0.08 < np.mean([lidar.field < 360 for lidar in lidars]) < 0.25
    assert {len(rig.cameras) for rig in rigs(40)} == {1, 3, 6}


def test_equal_seeds_give_equal_rigs_and_each_sequence_has_its_own():
    assert rigs(5) == rigs(5) and len({rig.lidar for rig in rigs(20)}) == 20
    world = WorldSettings(speed=0.1, place="country", rare=0.0, traffic=0.0)
    settings = SequenceSettings(rig="random", world=world)
    one, again, other = (Sequence(4, name, 1, settings).rig for name in ("00", "00", "01"))
    assert one == again and one != other and one.name == "random"


def test_a_lidar_that_looks_ahead_has_rays_to_the_front_alone():
    rays = SpinRays(np.eye(4), np.radians([0.0]), 360, field=90.0)
    azimuth = np.degrees(np.arctan2(rays.directions[1, 0], rays.directions[0, 0]))
    assert np.array_equal(rays.blind, np.abs(azimuth) > 45) and (~rays.blind).sum() == 90
    assert SpinRays(np.eye(4), np.radians([0.0]), 360).blind is None


def test_a_tilted_lidar_looks_down_where_its_pitch_says():
    tilted = LidarRig((0.0,), 100, 10.0, 1.5, 80.0, 1.0, 0.02, pitch=10.0)
    forward = tilted.vehicle_from_lidar[:3, 0]
    np.testing.assert_allclose(
        forward, (np.cos(np.radians(10)), 0, -np.sin(np.radians(10))), atol=1e-12
    )
    assert tilted.vehicle_from_lidar[2, 3] == 1.5


def test_reported_intensity_is_as_worked_out_by_hand():
    def reported(value, distance, **law):
        lidar = LidarRig((0.0,), 100, 10.0, 1.5, 80.0, 1.0, 0.02, **law)
        return float(_reported(lidar, np.array([value]), np.array([distance]))[0])

    assert reported(0.5, 20.0, gain=2.0, gamma=2.0) == pytest.approx(2 * 0.5**2)
    assert reported(0.5, 40.0, falloff=0.5) == pytest.approx(0.5 * (10 / 40) ** 0.5)
    assert reported(0.5, 5.0, falloff=0.5) == 0.5
    assert reported(0.5, 3.0, near_gain=0.5) == pytest.approx(0.5 * (1 + 0.5 / np.e))
    assert reported(0.9, 3.0, gain=3.0) == 1.0


@pytest.mark.parametrize("place", PLACES)
def test_every_kind_of_place_can_be_made(place):
    world = World(np.random.default_rng(1), 1.0, WorldSettings(place=place, speed=1.0))
    assert world.place is PLACES[place] and len(world.static) > 300
    assert len(np.unique(world.ground.zones)) > 3


def test_the_lidar_of_a_drive_sits_where_the_rig_says():
    world = WorldSettings(speed=0.1, place="country", rare=0.0, traffic=0.0)
    drive = Sequence(4, "00", 1, SequenceSettings(rig="random", world=world))
    pose = np.linalg.inv(drive.world.vehicle(0.0)) @ lidar_pose(drive.world, drive.rig, 0.0)
    np.testing.assert_allclose(pose, drive.rig.lidar.vehicle_from_lidar, atol=1e-9)

"""Where the beams come from: on made-up beams to the centimetre, on real scans to half a metre."""

import time

import numpy as np
import pytest
from builders.paths import DATA

from cmdfusion_ros.geometry.leveling import (
    SHARP,
    beam_sharpness,
    find_ground,
    find_origin,
    sample_points,
)

KITTI = DATA / "semantickitti" / "sequences"
PANDASET = DATA / "pandaset" / "002" / "velodyne"
FORWARD = DATA / "pandaset_forward" / "002" / "velodyne"
NUSCENES = DATA / "nuscenes_frame" / "lidar.bin"
UP = np.array([0.0, 0.0, 1.0])


def beams(height=1.8, seed=0):
    """(N, 3) of 48 beams that turn `height` over a road between two walls 9 m away."""
    azimuth = np.radians(np.arange(0, 360, 0.5))
    found = []
    for elevation in np.radians(np.linspace(-25, 5, 48)):
        wall = 9 / np.maximum(np.abs(np.sin(azimuth) * np.cos(elevation)), 1e-6)
        ground = height / np.sin(-elevation) if elevation < 0 else 60.0
        far = np.minimum(wall, ground)
        flat = np.cos(elevation) * far
        found.append(
            np.c_[flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation) * far][far < 59]
        )
    points = np.concatenate(found)
    return points + np.random.default_rng(seed).normal(0, 0.01, points.shape)


def scan_of(path, columns=4):
    return np.fromfile(path, np.float32).reshape(-1, columns)[:, :3]


def origin_of(points, moved=(0.0, 0.0, 0.0), turn=None, start=(0.0, 0.0, 0.0)):
    """(origin, sharpness, CPU seconds) of (N, 3) points after a turn and a shift."""
    turn = np.eye(3) if turn is None else turn
    sample = sample_points(points @ turn.T + np.array(moved))
    ground = find_ground(sample, np.array(start), turn[:, 2])
    begin = time.thread_time()
    origin, sharpness = find_origin(sample, np.array(start), ground)
    return origin, sharpness, time.thread_time() - begin


@pytest.mark.parametrize("moved", [(0.0, 0.0, 0.0), (1.3, -0.4, 1.6), (0.2, 0.9, 0.7)])
def test_the_origin_of_made_up_beams_is_found(moved):
    origin, sharpness, _ = origin_of(beams(), moved)
    np.testing.assert_allclose(origin, moved, atol=0.06)
    assert sharpness > 1.5


@pytest.mark.parametrize("height", [0.5, 1.0, 2.6])
def test_the_height_of_the_origin_is_found(height):
    origin, sharpness, _ = origin_of(beams(height), (0.5, 0.0, height))
    assert origin[2] == pytest.approx(height, abs=0.06) and sharpness > 1.2


def test_what_has_no_beams_is_not_sharp():
    random = np.random.default_rng(0)
    ground = np.c_[random.uniform(-20, 20, (20_000, 2)), random.normal(-1.8, 0.01, 20_000)]
    _, sharpness, _ = origin_of(ground)
    assert sharpness < SHARP


@pytest.mark.parametrize("distance", [1.0, 3.0])
def test_ground_within_arms_reach_alone_is_no_error(distance):
    """All of it nearer than any circle that is looked for."""
    random = np.random.default_rng(0)
    flat = random.uniform(-distance, distance, (20_000, 2)) + (14.0, 0.0)
    points = np.c_[flat * 1.0, random.normal(-1.8, 0.01, len(flat))]
    wide = np.c_[random.uniform(4, 24, (20_000, 1)), random.uniform(-10, 10, (20_000, 1))]
    points = np.concatenate([points, np.c_[wide, random.normal(-1.8, 0.01, len(wide))]])
    ground = find_ground(points, np.array([14.0, 0, 0]), UP)
    origin, sharpness = find_origin(points, np.array([-40.0, 0.0, 0.0]), ground)
    assert np.isfinite(origin).all() and sharpness == 1.0


def test_many_places_are_judged_as_one_by_one():
    points, places = beams(), np.random.default_rng(0).normal(0, 0.3, (7, 3))
    together = beam_sharpness(points, places, UP)
    alone = [beam_sharpness(points, place[None], UP)[0] for place in places]
    np.testing.assert_allclose(together, alone, rtol=0.02)
    assert beam_sharpness(points, np.zeros((1, 3)), UP)[0] > 1.4 * max(alone)


REAL = (
    [(KITTI / name / "velodyne" / "000000.bin", 4) for name in ("00", "02", "05", "07", "09", "10")]
    + [(PANDASET / f"{index:06d}.bin", 4) for index in (0, 20, 63)]
    + [(NUSCENES, 5)]
)
MOVES = {
    "raised as in base_link": (np.eye(3), (1.2, 0.1, 1.8)),
    "upside down": (np.diag([1.0, -1.0, -1.0]), (0.5, 0.5, -1.7)),
}


@pytest.mark.skipif(not KITTI.exists(), reason="needs ../shared/data (see its README)")
@pytest.mark.parametrize("move", MOVES)
def test_the_origin_of_real_scans_is_found(move):
    """HDL-64E, Pandar64 and HDL-32E on driving cars, which move by half a metre and more while the
    LiDAR turns once.
    """
    turn, shift = MOVES[move]
    errors, seconds = {}, []
    for path, columns in REAL:
        near = next(iter(sorted(path.parent.glob("*.bin")))) if not path.exists() else path
        origin, sharpness, took = origin_of(scan_of(near, columns), shift, turn)
        errors[str(path.relative_to(DATA))] = float(np.linalg.norm(origin - shift))
        seconds.append(took)
        assert sharpness >= SHARP, path
    table = "\n".join(f"{name:50} {error:.2f} m" for name, error in errors.items())
    print(f"\n{table}\nmedian {1e3 * np.median(seconds):.0f} ms")
    assert max(errors.values()) < 0.5, table
    assert np.median(seconds) < 0.25, "a robot's worker waits for it; 0.04 s were measured"


@pytest.mark.skipif(not FORWARD.exists(), reason="needs ../shared/data (see its README)")
def test_a_solid_state_lidar_has_no_such_place():
    path = sorted(FORWARD.glob("*.bin"))[3]
    assert origin_of(scan_of(path), (1.2, 0.1, 1.8))[1] < SHARP

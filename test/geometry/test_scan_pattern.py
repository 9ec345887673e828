"""Beams, from scans whose number is known."""

import numpy as np
import pytest
from builders.turning_lidar import turning_scan

from cmdfusion_ros.geometry.scan_pattern import count_beams


@pytest.mark.parametrize(
    ("beams", "low", "high", "step"),
    [(16, -15, 15, 0.2), (16, -15, 15, 0.4), (20, -15, 15, 0.2), (24, -16, 15, 0.2),
     (32, -25, 15, 0.7), (48, -25, 15, 0.2), (64, -25, 3, 0.2), (96, -25, 15, 0.2),
     (128, -22, 22, 0.35)],
)  # fmt: skip
def test_beams_of_a_turning_lidar_are_counted(beams, low, high, step):
    assert count_beams(turning_scan(beams, low, high, step)) == beams


@pytest.mark.parametrize("speed", [5, 15, 30])
def test_beams_are_counted_where_the_vehicle_has_moved_during_the_scan(speed):
    """m/s at 10 Hz along x, over one turn: elevations of the whole scan smear."""
    points = turning_scan(64, -25, 3, 0.2)
    turned = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) + 0.5
    moved = points + np.stack([turned * speed / 10, 0 * turned, 0 * turned], axis=1)
    assert count_beams(moved) == 64


def test_beams_are_counted_where_a_third_of_the_points_is_missing():
    points = turning_scan(32, -25, 15, 0.4)
    kept = np.random.default_rng(0).random(len(points)) > 0.3
    assert count_beams(points[kept]) == 32


def test_points_that_lie_on_no_beams_have_none():
    rng = np.random.default_rng(0)
    assert count_beams(rng.uniform(-20, 20, (20_000, 3))) == 0
    assert count_beams(np.zeros((0, 3))) == 0


@pytest.mark.parametrize("num_points", [24_000, 240_000])
def test_a_solid_state_lidar_that_looks_anywhere_has_none(num_points):
    rng = np.random.default_rng(0)
    azimuth = np.radians(rng.uniform(-35, 35, num_points))
    elevation = np.radians(rng.uniform(-12, 12, num_points))
    flat = np.cos(elevation)
    rays = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    assert count_beams(rays * rng.uniform(5, 40, (num_points, 1))) == 0

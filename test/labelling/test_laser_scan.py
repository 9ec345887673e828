"""~/scan: the nearest point of every direction, and which points count. No ROS."""

import dataclasses

import numpy as np
import pytest
from builders.labelled_cloud import CAR, ROAD, STREET

from cmdfusion_ros.frame import IGNORE_LABEL, Prediction
from cmdfusion_ros.labelling.laser_scan import (
    heights_of,
    nearest_ranges,
    obstacle_rows,
    scan_directions,
)
from cmdfusion_ros.labelling.placement import Placement
from cmdfusion_ros.labelling.sections import ScanSettings


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


def test_a_point_counts_by_its_height_and_unless_the_network_is_sure_of_another_class():
    labels = np.array([CAR, ROAD, ROAD, IGNORE_LABEL, CAR, CAR], np.uint8)
    confidence = np.float32([0.9, 0.9, 0.3, 0.0, 0.9, 0.9])
    heights = np.float32([1.0, 1.0, 1.0, 1.0, 0.1, 2.1])
    prediction = Prediction(labels, confidence, np.zeros(6, np.uint32))
    rule = ScanSettings(classes=("car",))
    rows = obstacle_rows(heights, prediction, STREET, rule, 0.8)
    assert rows.tolist() == [True, False, True, True, False, False]
    every = obstacle_rows(heights, prediction, STREET, ScanSettings(), 0.8)
    assert every.tolist() == [True, True, True, True, False, False]


def test_a_confidence_that_is_no_number_is_not_sure():
    prediction = Prediction(
        np.array([ROAD], np.uint8), np.float32([np.nan]), np.zeros(1, np.uint32)
    )
    rule = ScanSettings(classes=("car",))
    assert obstacle_rows(np.float32([1.0]), prediction, STREET, rule, 0.8).tolist() == [True]


def test_heights_are_over_the_ground_where_it_was_found(labelled):
    points = labelled.cloud.points.copy()
    points[:, 2] = 7.0
    np.testing.assert_array_equal(heights_of(labelled, points), [7.0] * 4)
    for placement, height in (
        (Placement(True, height=1.5), 1.5),
        (Placement(False, height=1.5), 7.0),
        (Placement(True), 7.0),  # no ground was seen
    ):
        it = dataclasses.replace(labelled, placement=placement)
        np.testing.assert_allclose(heights_of(it, points), [height] * 4)

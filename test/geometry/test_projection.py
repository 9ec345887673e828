"""Projection against values worked out by hand and against OpenCV's lens models."""

import cv2
import numpy as np
import pytest

from cmdfusion_ros.frame import Distortion
from cmdfusion_ros.geometry.projection import distort, project_points
from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation

INTRINSIC = np.array([[500.0, 0, 320], [0, 400.0, 240], [0, 0, 1]])
SIZE = (640, 480)
# looks along x; right is -y, down is -z
CAMERA_FROM_LIDAR = rigid(np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]), (0, 0, 0))


def cloud(*points):
    return np.array(points, np.float32).reshape(-1, 3)


def rays(count=2000, reach=0.6, seed=0):
    """Points 1 to 30 m ahead of a camera, in its own frame."""
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 30, count)
    return np.column_stack([rng.uniform(-reach, reach, (count, 2)) * depth[:, None], depth]).astype(
        np.float32
    )


def test_points_by_hand():
    pixels, visible = project_points(
        cloud((10, 0, 0), (10, 2, 1), (5, -1, -1)), INTRINSIC, CAMERA_FROM_LIDAR, SIZE
    )
    assert visible.all() and pixels.dtype == np.float32
    assert np.allclose(
        pixels, [[320, 240], [320 - 100, 240 - 40], [320 + 100, 240 + 80]], atol=1e-3
    )


def test_a_point_behind_or_at_the_lens_is_not_visible():
    pixels, visible = project_points(
        cloud((-10, 0, 0), (0.05, 0, 0), (0.2, 0, 0)), INTRINSIC, CAMERA_FROM_LIDAR, SIZE
    )
    assert visible.tolist() == [False, False, True]
    assert np.isnan(pixels[:2]).all() and np.isfinite(pixels[2]).all()


def test_depth_is_measured_in_the_camera_not_along_the_lidar_x_axis():
    backwards = CAMERA_FROM_LIDAR @ rigid(yaw_rotation(np.pi), (0, 0, 0))
    assert project_points(cloud((-10, 0, 0), (10, 0, 0)), INTRINSIC, backwards, SIZE)[
        1
    ].tolist() == [True, False]


def test_the_image_ends_half_a_pixel_outside_its_outermost_pixel_centres():
    at = [(u - 320) / 500 for u in (-0.6, -0.4, 639.4, 639.6)]
    points = np.array([(x * 10, 0, 10) for x in at], np.float32)
    assert project_points(points, INTRINSIC, np.eye(4), SIZE)[1].tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_no_points_give_no_pixels():
    pixels, visible = project_points(cloud(), INTRINSIC, CAMERA_FROM_LIDAR, SIZE)
    assert pixels.shape == (0, 2) and visible.shape == (0,)


@pytest.mark.parametrize(
    "model, coefficients",
    [
        ("plumb_bob", (-0.28, 0.07, 0.0002, 0.00002, 0.0)),
        ("plumb_bob", (0.1, -0.02, 0.001, -0.002, 0.003)),
        ("plumb_bob", (0.05,)),
        ("rational_polynomial", (0.4, 0.3, 0.001, -0.001, 0.02, 0.7, 0.35, 0.05)),
    ],
)
def test_pixels_equal_opencv(model, coefficients):
    points = rays()
    pixels, visible = project_points(
        points, INTRINSIC, np.eye(4), SIZE, Distortion(model, coefficients)
    )
    padded = np.zeros(8)
    padded[: len(coefficients)] = coefficients
    truth = cv2.projectPoints(
        points.astype(np.float64), np.zeros(3), np.zeros(3), INTRINSIC, padded
    )[0][:, 0]
    assert visible.sum() > 1000
    assert np.abs(pixels[visible] - truth[visible]).max() < 2e-3


def test_fisheye_pixels_equal_opencv():
    points, coefficients = rays(reach=1.5), (-0.02, 0.005, -0.003, 0.0004)
    pixels, visible = project_points(
        points, INTRINSIC, np.eye(4), SIZE, Distortion("equidistant", coefficients)
    )
    truth = cv2.fisheye.projectPoints(
        points.astype(np.float64)[:, None],
        np.zeros(3),
        np.zeros(3),
        INTRINSIC,
        np.array(coefficients),
    )[0][:, 0]
    inside = (
        (truth[:, 0] >= -0.5)
        & (truth[:, 0] < 639.5)
        & (truth[:, 1] >= -0.5)
        & (truth[:, 1] < 479.5)
    )
    assert (visible == inside).mean() > 0.999 and visible.sum() > 400
    assert np.abs(pixels[visible] - truth[visible]).max() < 2e-3


def test_a_point_far_outside_does_not_come_back_into_the_image_through_the_lens_model():
    """With k1 < 0 the polynomial turns: at r^2 = 1 / -k1 every ray lands in the image
    centre again.
    """
    lens = Distortion("plumb_bob", (-0.25,))
    point = np.array([[2.0, 0, 1.0]], np.float32)  # r^2 = 4, where 1 + k1 r^2 = 0
    truth = cv2.projectPoints(
        point.astype(np.float64), np.zeros(3), np.zeros(3), INTRINSIC, np.array([-0.25, 0, 0, 0, 0])
    )[0][0, 0]
    assert np.allclose(truth, (320, 240))
    assert not project_points(point, INTRINSIC, np.eye(4), SIZE, lens)[1][0]


def test_a_fisheye_keeps_the_middle_ray_in_the_middle():
    (x, y), valid = distort(np.zeros(1), np.zeros(1), Distortion("equidistant", (0.1, 0.1)))
    assert valid.all() and x[0] == 0 and y[0] == 0


def test_a_lens_without_coefficients_is_a_pinhole():
    points = rays(50)
    plain, _ = project_points(points, INTRINSIC, np.eye(4), SIZE)
    zero, _ = project_points(
        points, INTRINSIC, np.eye(4), SIZE, Distortion("plumb_bob", (0.0, 0.0))
    )
    np.testing.assert_array_equal(plain, zero)


def test_an_equidistant_lens_with_zero_coefficients_is_a_fisheye_not_a_pinhole():
    point = np.array([[1.0, 0, 1.0]], np.float32)  # 45 degrees off the axis
    pixels, _ = project_points(
        point, INTRINSIC, np.eye(4), (1000, 480), Distortion("equidistant", (0.0, 0.0, 0.0, 0.0))
    )
    assert np.allclose(pixels[0, 0], 320 + 500 * np.pi / 4, atol=1e-3)

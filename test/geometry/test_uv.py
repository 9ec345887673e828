"""Crop, resize and mirror of an image move its pixels as one record says: by hand, against
images, and in any chain.
"""

import numpy as np
import pytest

from cmdfusion_ros.geometry.projection import project_points
from cmdfusion_ros.geometry.uv import UVTransform


def test_corners_by_hand():
    """An image of 4 x 2 to one of 8 x 6: its outer edges at -0.5 stay where they are, its first
    centre moves to the middle of 2 x 3 pixels.
    """
    resize = UVTransform.resize((4, 2), (8, 6))
    assert resize.apply(np.array([[-0.5, -0.5], [0, 0], [3.5, 1.5]])).tolist() == [
        [-0.5, -0.5],
        [0.5, 1.0],
        [7.5, 5.5],
    ]
    assert UVTransform.crop(1, 0, (2, 2)).apply(np.array([[1.0, 1.0]])).tolist() == [[0.0, 1.0]]
    assert UVTransform.mirror((4, 2)).apply(np.array([[0.0, 1.0], [3.0, 0.0]])).tolist() == [
        [3.0, 1.0],
        [0.0, 0.0],
    ]


def test_pixels_follow_an_image_that_is_cropped_and_mirrored():
    """An image that holds its own columns and lines, cropped and mirrored: every pixel lies
    where the record says.
    """
    lines, columns = np.mgrid[:6, :9]
    image = np.stack([columns, lines], 2)
    crop, mirror = UVTransform.crop(2, 1, (5, 4)), UVTransform.mirror((5, 4))
    changed = image[1:5, 2:7][:, ::-1]
    assert crop.size == mirror.size == (5, 4)
    now = mirror.apply(crop.apply(changed.reshape(-1, 2))).reshape(4, 5, 2)
    np.testing.assert_array_equal(now, np.stack(np.meshgrid(np.arange(5), np.arange(4)), 2))


def test_resizing_back_is_nothing():
    pixels = np.random.default_rng(0).uniform(0, 9, (50, 2)).astype(np.float32)
    there, back = UVTransform.resize((9, 6), (20, 11)), UVTransform.resize((20, 11), (9, 6))
    np.testing.assert_allclose(back.apply(there.apply(pixels)), pixels, atol=1e-5)


def test_normalised_pixels_go_from_edge_to_edge():
    assert UVTransform.crop(0, 0, (4, 2)).normalise(
        np.array([[-0.5, -0.5], [1.5, 0.5], [3.5, 1.5]])
    ).tolist() == [[-1, -1], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    "change",
    [
        UVTransform.crop(4, 3, (20, 12)),
        UVTransform.mirror((32, 24)),
        UVTransform.resize((32, 24), (48, 12)),
    ],
)
def test_projecting_with_the_new_intrinsic_is_moving_the_old_pixels(change):
    intrinsic = np.array([[30.0, 0, 15.5], [0, 30.0, 11.5], [0, 0, 1]])
    points = np.random.default_rng(1).uniform((-2, -2, 2), (2, 2, 6), (100, 3)).astype(np.float32)
    old, seen = project_points(points, intrinsic, np.eye(4), (32, 24))
    new, seen_now = project_points(points, change.of_intrinsic(intrinsic), np.eye(4), change.size)
    both = seen & seen_now
    assert both.sum() > 10
    np.testing.assert_allclose(new[both], change.apply(old)[both], atol=1e-3)

"""Rigid transforms against values worked out by hand, and against themselves backwards."""

import numpy as np
import pytest

from cmdfusion_ros.geometry.transforms import (
    apply,
    interpolate,
    invert,
    quaternion_from_rotation,
    rigid,
    rotation_from_quaternion,
    yaw_rotation,
)

HALF = np.sqrt(0.5)
QUATERNIONS = [
    (0, 0, 0, 1),
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, HALF, HALF),
    (0.5, 0.5, 0.5, 0.5),
    (HALF, -HALF, 0, 0),
    (0.9, -0.1, 0.3, 0.01),
]


def test_a_quarter_turn_about_z_takes_x_to_y():
    rotation = rotation_from_quaternion((0, 0, HALF, HALF))
    assert np.allclose(rotation @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(rotation, yaw_rotation(np.pi / 2))


def test_apply_rotates_then_moves():
    transform = rigid(yaw_rotation(np.pi / 2), (10, 0, 1))
    moved = apply(transform, np.array([[1, 2, 3]], np.float32))
    assert moved.dtype == np.float32 and np.allclose(moved, [[8, 1, 4]])


def test_apply_keeps_an_empty_cloud_empty():
    assert apply(np.eye(4), np.zeros((0, 3), np.float32)).shape == (0, 3)


@pytest.mark.parametrize("quaternion", QUATERNIONS)
def test_a_quaternion_survives_the_rotation_matrix(quaternion):
    quaternion = np.array(quaternion, float) / np.linalg.norm(quaternion)
    rotation = rotation_from_quaternion(quaternion)
    again = quaternion_from_rotation(rotation)
    assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) > 0
    assert again[3] >= 0 and np.allclose(rotation_from_quaternion(again), rotation)
    assert min(np.abs(again - quaternion).max(), np.abs(again + quaternion).max()) < 1e-12


def test_a_quaternion_is_normalised_first():
    assert np.allclose(rotation_from_quaternion((0, 0, 3, 3)), yaw_rotation(np.pi / 2))


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (np.nan, 0, 0, 1)])
def test_a_quaternion_without_direction_is_refused(quaternion):
    with pytest.raises(
        ValueError, match="quaternion: expected four finite numbers that are not all zero"
    ):
        rotation_from_quaternion(quaternion)


def test_the_inverse_undoes_a_transform():
    b_from_a = rigid(rotation_from_quaternion((0.1, -0.2, 0.3, 0.9)), (1, -2, 3))
    assert np.allclose(invert(b_from_a) @ b_from_a, np.eye(4), atol=1e-12)


def test_interpolation_goes_straight_and_turns_the_short_way():
    first, second = (
        rigid(yaw_rotation(np.radians(170)), (0, 0, 0)),
        rigid(yaw_rotation(np.radians(-170)), (2, 0, 4)),
    )
    middle = interpolate(first, second, 0.5)
    assert np.allclose(middle, rigid(yaw_rotation(np.pi), (1, 0, 2)), atol=1e-9)
    assert np.allclose(interpolate(first, second, 0), first) and np.allclose(
        interpolate(first, second, 1), second
    )


def test_interpolation_between_nearly_equal_turns_stays_a_rotation():
    first, second = rigid(yaw_rotation(0.0), (0, 0, 0)), rigid(yaw_rotation(1e-6), (0, 0, 0))
    assert np.allclose(interpolate(first, second, 0.25)[:3, :3], yaw_rotation(0.25e-6), atol=1e-12)

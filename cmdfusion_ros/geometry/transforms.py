"""Rigid transforms as (4, 4) float64 matrices named `b_from_a`: they take coordinates in a to
coordinates in b, and chains read `c_from_b @ b_from_a`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def rigid(rotation: ArrayLike, translation: ArrayLike) -> np.ndarray:
    """(3, 3) rotation and (3,) translation in metres -> (4, 4) float64."""
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = translation
    return transform


def invert(b_from_a: np.ndarray) -> np.ndarray:
    """`a_from_b`, by transposing the rotation: exact where a general inverse is not."""
    rotation = b_from_a[:3, :3]
    return rigid(rotation.T, -rotation.T @ b_from_a[:3, 3])


def apply(b_from_a: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Take (N, 3) points in a to b; keeps the dtype of `points`, computes in float64."""
    moved = points.astype(np.float64) @ b_from_a[:3, :3].T + b_from_a[:3, 3]
    return moved.astype(points.dtype)


def rotation_from_quaternion(quaternion: Sequence[float] | np.ndarray) -> np.ndarray:
    """(x, y, z, w), as ROS orders it -> (3, 3). Normalises first; raises ValueError for a zero
    or non-finite quaternion, which drivers do send.
    """
    x, y, z, w = np.asarray(quaternion, np.float64)
    norm = np.sqrt(x * x + y * y + z * z + w * w)
    if not np.isfinite(norm) or norm < 1e-9:
        raise ValueError(
            "quaternion: expected four finite numbers that are not all zero, got "
            f"{[float(q) for q in quaternion]}"
        )
    x, y, z, w = x / norm, y / norm, z / norm, w / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """(3, 3) -> (x, y, z, w) with w >= 0. Takes the largest of the four from the diagonal
    (Shepperd), so it is stable near half turns.
    """
    trace = np.trace(rotation)
    # 4 x^2, ..., 4 w^2
    squares = np.array(
        [
            1 + 2 * rotation[0, 0] - trace,
            1 + 2 * rotation[1, 1] - trace,
            1 + 2 * rotation[2, 2] - trace,
            1 + trace,
        ]
    )
    largest = int(np.argmax(squares))
    r = rotation
    rows = {
        0: (squares[0], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]),
        1: (r[1, 0] + r[0, 1], squares[1], r[2, 1] + r[1, 2], r[0, 2] - r[2, 0]),
        2: (r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], squares[2], r[1, 0] - r[0, 1]),
        3: (r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], squares[3]),
    }
    quaternion = np.array(rows[largest]) / (2 * np.sqrt(squares[largest]))
    return quaternion if quaternion[3] >= 0 else -quaternion


def interpolate(first: np.ndarray, second: np.ndarray, fraction: float) -> np.ndarray:
    """Between two rigid transforms: straight line in translation, shortest arc in rotation.
    `fraction` 0 gives `first`, 1 gives `second`.
    """
    q0, q1 = quaternion_from_rotation(first[:3, :3]), quaternion_from_rotation(second[:3, :3])
    cosine = q0 @ q1
    if cosine < 0:
        q1, cosine = -q1, -cosine
    if cosine > 0.9995:  # nearly equal: the sine below would divide by almost zero
        quaternion = q0 + fraction * (q1 - q0)
    else:
        angle = np.arccos(min(cosine, 1.0))
        quaternion = (np.sin((1 - fraction) * angle) * q0 + np.sin(fraction * angle) * q1) / np.sin(
            angle
        )
    translation = (1 - fraction) * first[:3, 3] + fraction * second[:3, 3]
    return rigid(rotation_from_quaternion(quaternion), translation)


def yaw_rotation(angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians about z."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def pitch_rotation(angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians about y: with x forward and z up, a positive one looks
    down.
    """
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def roll_rotation(angle: float) -> np.ndarray:
    """(3, 3) rotation by `angle` radians about x."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])

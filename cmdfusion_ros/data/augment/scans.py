"""Changes of a training scan that leave its meaning: pure functions Frame -> Frame.

A flipped or scaled scan has no rigid `camera_from_lidar`. So a scan with camera views keeps where
its points were measured (`Frame.measured_points`), and those are projected: three numbers a point,
whatever the number of cameras and their lenses. Points that were added have no place in any image.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cmdfusion_ros.data.augment.mix import join, select
from cmdfusion_ros.frame import Frame
from cmdfusion_ros.geometry.transforms import invert, rigid, yaw_rotation


def rotate(frame: Frame, angle: float) -> Frame:
    """Turn by `angle` radians about z; the pose turns back, so that the points stay where they
    are in the world.
    """
    return _move(frame, rigid(yaw_rotation(angle), np.zeros(3)))


def tilt(frame: Frame, roll: float, pitch: float) -> Frame:
    """Turn by `roll` radians about x, then by `pitch` about y; the pose turns back."""
    (a, b), (c, d) = (np.cos(roll), np.sin(roll)), (np.cos(pitch), np.sin(pitch))
    about_x = np.array([[1, 0, 0], [0, a, -b], [0, b, a]])
    about_y = np.array([[c, 0, d], [0, 1, 0], [-d, 0, c]])
    return _move(frame, rigid(about_y @ about_x, np.zeros(3)))


def shift(frame: Frame, offset: np.ndarray) -> Frame:
    """Shift by `offset` (3,) metres; the pose shifts back."""
    return _move(frame, rigid(np.eye(3), np.asarray(offset, np.float64)))


def _move(frame, new_from_old):
    points = (
        frame.points @ new_from_old[:3, :3].T.astype(np.float32)
        + new_from_old[:3, 3].astype(np.float32)
    ).astype(np.float32)
    pose = None if frame.world_from_lidar is None else frame.world_from_lidar @ invert(new_from_old)
    return _with_points(frame, points, pose)


def flip(frame: Frame, axis: int) -> Frame:
    """Mirror x (axis 0) or y (axis 1). A mirrored scan has no pose."""
    signs = np.ones(3, np.float32)
    signs[axis] = -1
    return _with_points(frame, frame.points * signs, None)


def scale(frame: Frame, factor: float) -> Frame:
    """Multiply all coordinates by `factor`. A scaled scan has no pose."""
    return _with_points(frame, frame.points * np.float32(factor), None)


def _with_points(frame, points, pose):
    measured = (
        frame.points if frame.views and frame.measured_points is None else frame.measured_points
    )
    return replace(frame, points=points, world_from_lidar=pose, measured_points=measured)


def _with_added(frame, rows, points):
    """`frame` and behind it `points` (M, 3), each with the other values of the point at its row
    of `rows`, seen by no camera.
    """
    return join(frame, replace(select(frame, rows), points=points))


def paste_turned(frame: Frame, labels: Sequence[int], angles: np.ndarray) -> Frame:
    """Add copies of the points that have one of `labels`, turned about z by each of `angles`
    (radians) (after PolarMix, Xiao et al. 2022).

    A copy keeps its distance, so it has the density of points that the sensor would give it there.
    What it would hide stays.
    """
    rows = np.flatnonzero(np.isin(frame.labels, labels))
    turned = [frame.points[rows] @ yaw_rotation(angle).T.astype(np.float32) for angle in angles]
    return _with_added(frame, np.tile(rows, len(angles)), np.concatenate(turned))


def fill_ground(
    frame: Frame, labels: Sequence[int], factor: float, rng: np.random.Generator
) -> Frame:
    """Add points between neighbouring points of the same one of `labels`: flat ground as a sensor
    with closer rings sees it.

    Rings of some sensors lie metres apart near the vehicle, those of others centimetres: a network
    that knows only the first takes dense ground for something else. Each new point lies on the line
    between two points of one label in one square of 4 m, with values between theirs.

    Args:
        labels: classes that are flat over 4 m.
        factor: new points for every point of these classes.
    """
    rows = np.flatnonzero(np.isin(frame.labels, labels))
    if not len(rows):
        return frame
    squares = np.floor(frame.points[rows, :2] / 4.0 + rng.random(2)).astype(np.int64)
    keys = (squares[:, 0] * 100_003 + squares[:, 1]) * 256 + frame.labels[rows]
    order = np.argsort(keys, kind="stable")
    rows, keys = rows[order], keys[order]
    first, last = np.searchsorted(keys, keys), np.searchsorted(keys, keys, side="right")
    one = rng.integers(0, len(rows), int(factor * len(rows)))
    other = rng.integers(first[one], last[one])  # any point of the same square and label
    part = rng.random(len(one), np.float32)
    points = frame.points[rows[one]] + part[:, None] * (
        frame.points[rows[other]] - frame.points[rows[one]]
    )
    return _with_added(frame, rows[one], points)


def crop_sector(frame: Frame, start: float, width: float) -> Frame:
    """Keep the points whose azimuth lies in the `width` radians counter-clockwise from `start`."""
    azimuth = np.arctan2(frame.points[:, 1], frame.points[:, 0])
    return select(frame, (azimuth - start) % (2 * np.pi) < width)


def jitter(frame: Frame, deviation: float, rng: np.random.Generator) -> Frame:
    """Normal noise of this standard deviation, metres, on every coordinate, cut at three
    deviations. A noisy scan keeps its pose.
    """
    noise = deviation * np.clip(rng.standard_normal(frame.points.shape, np.float32), -3, 3)
    return _with_points(frame, frame.points + noise.astype(np.float32), frame.world_from_lidar)


def drop_points(frame: Frame, ratio: float, rng: np.random.Generator) -> Frame:
    """Drop each point with probability `ratio`."""
    return select(frame, rng.random(frame.num_points) >= ratio)


def thin_beams(frame: Frame, period: float, keep: float, phase: float) -> Frame:
    """Keep only elevation bands as seen from the LiDAR origin, as if the beams between them did not
    exist.

    Args:
        period: angle from the start of one band to the start of the next, radians.
        keep: width of a band as a fraction of the period.
        phase: where the first band starts, as a fraction of the period.
    """
    elevation = np.arctan2(frame.points[:, 2], np.hypot(frame.points[:, 0], frame.points[:, 1]))
    return select(frame, (elevation / period + phase) % 1.0 < keep)


def without_intensity(frame: Frame) -> Frame:
    """All intensities zero, as from a sensor that gives none."""
    return replace(without_intensity_rank(frame), intensity=np.zeros_like(frame.intensity))


def without_intensity_rank(frame: Frame) -> Frame:
    """All ranks of intensities equal, so that they say nothing; the intensities stay."""
    return replace(frame, intensity_rank=np.full(frame.num_points, 0.5, np.float32))


def change_intensity(frame: Frame, gain: float, gamma: float) -> Frame:
    """gain * intensity ** gamma, cut at 1: sensors differ in full scale and in how they
    compress.
    """
    return replace(
        frame,
        intensity=np.minimum(
            np.float32(gain) * frame.intensity ** np.float32(gamma), np.float32(1.0)
        ),
    )

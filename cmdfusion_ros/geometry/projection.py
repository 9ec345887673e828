"""LiDAR points -> pixels: pinhole and fisheye lenses with distortion. Points are bent, images
are never warped.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from cmdfusion_ros.frame import Distortion

# metres; nearer points blow up the division by depth and are behind the lens anyway
MIN_DEPTH = 0.1


def project_points(
    points: np.ndarray,
    intrinsic: np.ndarray,
    camera_from_lidar: np.ndarray,
    image_size: tuple[int, int],
    distortion: Distortion | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Project LiDAR points into an image.

    A point is visible when it is in front of the camera, its pixel is inside the image, and the
    lens model is still one-to-one at its angle. Depth is tested in the camera frame: a test on the
    LiDAR x axis only holds for a camera that looks straight ahead.

    Args:
        points: (N, 3) float, LiDAR frame, metres.
        intrinsic: (3, 3) float, of the image as given here, so after any crop or resize.
        camera_from_lidar: (4, 4) float, rigid transform.
        image_size: (width, height) in pixels.
        distortion: a `Distortion`, or None for a pinhole.

    Returns:
        pixels: (N, 2) float32, (u, v); rows of invisible points are NaN. Pixel centres are at whole
            numbers, so the image covers [-0.5, width - 0.5).
        visible: (N,) bool.
    """
    width, height = image_size
    camera_from_lidar = camera_from_lidar.astype(np.float32)
    in_camera = points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]  # (N, 3)
    pixels = np.full((len(points), 2), np.nan, np.float32)
    visible = np.zeros(len(points), bool)
    ahead = np.flatnonzero(in_camera[:, 2] > MIN_DEPTH)
    x, y, z = in_camera[ahead].T
    bent, valid = distort(x / z, y / z, distortion)
    u = intrinsic[0, 0] * bent[0] + intrinsic[0, 1] * bent[1] + intrinsic[0, 2]
    v = intrinsic[1, 1] * bent[1] + intrinsic[1, 2]
    inside = valid & (u >= -0.5) & (u < width - 0.5) & (v >= -0.5) & (v < height - 0.5)
    rows = ahead[inside]
    pixels[rows, 0] = u[inside]
    pixels[rows, 1] = v[inside]
    visible[rows] = True
    return pixels, visible


def distort(
    x: np.ndarray, y: np.ndarray, distortion: Distortion | None
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Bend ideal rays (x, y) = (X/Z, Y/Z) by a lens model (OpenCV's formulas, which ROS uses).

    Returns:
        (x', y') of the bent rays, and valid (N,) bool: False where the model has passed its turning
        point, so that a ray far outside the image would come back into it (plumb_bob with negative
        k1 does that).
    """
    model, coefficients, limit = lens_of(distortion)
    if model == "equidistant":
        return _distort_fisheye(x, y, coefficients, limit)
    if model == "pinhole":
        return (x, y), np.ones(len(x), bool)
    k1, k2, p1, p2, k3, k4, k5, k6 = coefficients
    r2 = x * x + y * y
    radial = _rational(r2, (k1, k2, k3), (k4, k5, k6))
    bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return (bent_x, bent_y), r2 < limit


def lens_of(distortion: Distortion | None) -> tuple[str, tuple[float, ...], float]:
    """(model, coefficients, limit) of a lens: "pinhole"; "rational" with k1, k2, p1, p2, k3 to k6
    and r^2 where it stops growing; "equidistant" with k1 to k4 and such an angle.
    """
    return _lens(distortion.model, tuple(distortion.coefficients)) if distortion else _PINHOLE


_PINHOLE: tuple[str, tuple[float, ...], float] = ("pinhole", (), np.inf)


@functools.lru_cache(maxsize=64)
def _lens(model: str, given: tuple[float, ...]) -> tuple[str, tuple[float, ...], float]:
    if model == "equidistant":  # bends rays even where all its coefficients are zero
        fisheye = _padded(given, 4)
        return model, fisheye, _last_angle(fisheye)
    if not any(given):
        return _PINHOLE
    k1, k2, _, _, k3, k4, k5, k6 = coefficients = _padded(given, 8)
    return "rational", coefficients, float(_turning_point((k1, k2, k3), (k4, k5, k6)))


def _rational(r2: Any, top: Sequence[float], bottom: Sequence[float]) -> Any:
    numerator = 1 + r2 * (top[0] + r2 * (top[1] + r2 * top[2]))
    return numerator / (1 + r2 * (bottom[0] + r2 * (bottom[1] + r2 * bottom[2])))


def _turning_point(top: Sequence[float], bottom: Sequence[float]) -> float:
    """Square of the first radius at which r * radial(r^2) stops growing; infinity where it never
    does within 89 degrees.
    """
    r = np.tan(np.radians(np.linspace(0.0, 89.0, 2000)))
    with np.errstate(divide="ignore", invalid="ignore"):
        bent = r * _rational(r * r, top, bottom)
    falling = np.flatnonzero(~(np.diff(bent) > 0))
    return r[falling[0]] ** 2 if len(falling) else np.inf


def _distort_fisheye(
    x: np.ndarray, y: np.ndarray, coefficients: Sequence[float], limit: float
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    k1, k2, k3, k4 = coefficients
    r = np.hypot(x, y)
    theta = np.arctan(r)
    t2 = theta * theta
    bent_theta = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    scale = np.where(r > 1e-8, bent_theta / np.maximum(r, 1e-8), 1.0)
    return (x * scale, y * scale), theta < limit


def _last_angle(coefficients: Sequence[float]) -> float:
    """The angle from which a fisheye lens model no longer grows; infinity where there is none."""
    k1, k2, k3, k4 = coefficients
    grid = np.linspace(0.0, np.pi / 2, 2000)
    g2 = grid * grid
    falling = np.flatnonzero(np.diff(grid * (1 + g2 * (k1 + g2 * (k2 + g2 * (k3 + g2 * k4))))) <= 0)
    return float(grid[falling[0]]) if len(falling) else np.inf


def _padded(coefficients: Sequence[float], length: int) -> tuple[float, ...]:
    return tuple(coefficients) + (0.0,) * (length - len(coefficients))

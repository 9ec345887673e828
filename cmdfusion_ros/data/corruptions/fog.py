"""Fog in a cloud after Hahner et al., ICCV 2021, as Robo3D and MultiCorrupt use it.

A pulse comes back from the target, weakened by exp(-2 alpha r) (hard), and from the droplets
before it (soft, equation 13); the sensor reports the stronger. Both have the target's reflectance
as a factor, so it cancels: a point is lost to fog where r^2 (beta / beta0) G > exp(-2 alpha r).
In effect all points beyond a certain range jump to a ball of clutter round the sensor.
"""

from functools import cache

import numpy as np

from cmdfusion_ros.data.corruptions.points import changed
from cmdfusion_ros.frame import Frame

ALPHAS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.06)  # 1/m, attenuation; Robo3D draws one a scan
_SPEED = 299_792_458.0
_PULSE = 20e-9 * _SPEED  # metres: c tau_h
_BETA0 = 1e-6 / np.pi  # gamma / pi, the target's differential reflectivity


@cache
def soft_response(alpha: float) -> tuple[float, float]:
    """(R*, G) of `alpha`: where the echo of the droplets is strongest, in metres, and how strong,
    G = max_R (2 / c) int_0^R sin^2(pi (R - s) / (c tau)) exp(-2 alpha s) / s^2 xi(s) ds.

    xi is the overlap of transmitter and receiver, 0 below 0.9 m and 1 from 1 m on. It is what
    stands for targets beyond R*; nearer ones are never lost (the published tables say the same).
    """
    s = np.linspace(0.85, 10.0, 3661)
    overlap = np.clip((s - 0.9) / 0.1, 0, 1)
    density = np.exp(-2 * alpha * s) / s**2 * overlap
    ranges = np.arange(0.0, 10.0, 0.02)
    behind = ranges[:, None] - s[None]
    pulse = np.where((behind >= 0) & (behind <= _PULSE), np.sin(np.pi * behind / _PULSE) ** 2, 0)
    response = (2 / _SPEED) * (pulse * density).sum(1) * (s[1] - s[0])
    best = int(response.argmax())
    return float(ranges[best]), float(response[best])


def _is_lost(distance: np.ndarray | float, alpha: float, beta: float) -> np.ndarray | bool:
    strength = distance**2 * (beta / _BETA0) * soft_response(alpha)[1]
    return strength > np.exp(-2 * alpha * distance)


def fog(
    frame: Frame,
    rng: np.random.Generator,
    beta: float,
    alphas: tuple[float, ...] = ALPHAS,
    steps: int = 0,
) -> Frame:
    """`frame` in fog.

    Args:
        beta: back-scattering coefficient, 1/m.
        alphas: attenuations, one of which is drawn.
        steps: intensities are rounded to this many (nuScenes: 255); 0 = not at all.

    A lost point comes back from R* times r / U(r - 10, r + 10), with the droplets' strength (at
    most 1 here, which the originals let grow), and is noise. Where nothing was reflected, nothing
    is lost.
    """
    alpha = float(rng.choice(alphas))
    points = frame.points.astype(np.float64)
    distance = np.linalg.norm(points, axis=1)
    peak, strength = soft_response(alpha)
    hard = frame.intensity * np.exp(-2 * alpha * distance)
    if steps:
        hard = np.round(hard * steps) / steps
    soft = frame.intensity * distance**2 * (beta / _BETA0) * strength
    lost = (soft > hard) & (distance > peak) & (frame.intensity > 0)
    span = np.maximum(distance + rng.uniform(-10, 10, len(distance)), 0.5)
    factor = np.where(lost, peak / span, 1.0)  # peak (r / span) on the ray: times r / span / r
    return changed(frame, points * factor[:, None], np.where(lost, soft, hard), lost)

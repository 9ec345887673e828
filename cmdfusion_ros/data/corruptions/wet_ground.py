"""Wet ground in a cloud after Hahner et al., CVPR 2022 (section 3.4), as Robo3D uses it.

A film of water mirrors the beam away: ground comes back weaker, and not at all where it falls
below the noise of the sensor, which is fitted to the scan itself.
"""

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.data.corruptions.points import changed
from cmdfusion_ros.frame import Frame

GROUND = frozenset(
    "road parking sidewalk other-ground driveable_surface other_flat lane_marker curb".split()
)
FEWEST = 1000  # ground points of a scan that is changed
FULL_FILM = 0.0012  # metres of water that hide the ground's own roughness
_AIR, _WATER = 1.0003, 1.33  # refractive indices
_NEAR, _FAR, _RANGES, _VALUES, _LOWEST = 10.0, 70.0, 50, 2555, 5.0


def ground_rows(frame: Frame, class_map: ClassMap) -> np.ndarray:
    """Rows of ground below the sensor, by the true labels; none where there are too few."""
    labels = [label for label, name in enumerate(class_map.names) if name in GROUND]
    rows = np.flatnonzero(np.isin(frame.labels, labels) & (frame.points[:, 2] < 0))
    return rows if len(rows) >= FEWEST else rows[:0]


def incidence(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(r, cos theta) of (N, 3) points of flat ground: range, and the beam against the vertical."""
    distance = np.linalg.norm(points.astype(np.float64), axis=1)
    return distance, np.maximum(-points[:, 2].astype(np.float64) / distance, 1e-3)


def noise_floor(
    distance: np.ndarray, flat: np.ndarray, factor: float, power: np.ndarray
) -> np.ndarray:
    """Coefficients (2,) of the least intensity over cos theta that the sensor reports, linear in
    r: in each of 50 bins of range the rarest value above 5 counts; times `factor`.

    Args:
        flat: (N,) intensities over cos theta. The bound of 5 was made for intensities of 0 to 255;
            with those of 0 to 1 only grazing points pass it, in the originals too.
        power: coefficients of what the ground reflects; taken where 3 values or fewer are found.
    """
    top = max(float(flat.max()), _LOWEST + 1e-6)
    edges = np.linspace(_LOWEST, top, _VALUES + 1)
    bins = np.linspace(_NEAR, _FAR, _RANGES + 1)
    counts = np.histogram2d(distance, flat, (bins, edges))[0]
    counts[counts == 0] = len(distance) + 1
    rarest = counts.argmin(1)
    found = (counts.min(1) <= len(distance)) & (edges[rarest] > _LOWEST)
    if found.sum() <= 3:
        return factor * power
    middles = (bins[:-1] + bins[1:]) / 2
    return factor * np.polyfit(middles[found], edges[rarest][found], 1)


def fresnel(theta: np.ndarray, before: float, behind: float) -> tuple[np.ndarray, np.ndarray]:
    """Reflected powers (R_s, R_p) of a surface between refractive indices at `theta` (radians)."""
    inside = np.arcsin(np.clip(before / behind * np.sin(theta), -1, 1))
    a, b = np.cos(theta), np.cos(inside)
    across = ((before * a - behind * b) / (before * a + behind * b)) ** 2
    along = ((before * b - behind * a) / (before * b + behind * a)) ** 2
    return across, along


def film_return(theta: np.ndarray, reflectance: np.ndarray) -> np.ndarray:
    """Part of the power that comes back through a film of water from ground of (N,) reflectance:
    in, then any number of times between ground and surface, then out; the better polarisation."""
    inside = np.arcsin(_AIR / _WATER * np.sin(theta))
    best = np.zeros_like(theta)
    for down, up in zip(fresnel(theta, _AIR, _WATER), fresnel(inside, _WATER, _AIR), strict=True):
        back = (1 - down) * reflectance * (1 - up) / (1 - reflectance * up)
        best = np.maximum(best, back)
    return best


def wet_ground(
    frame: Frame, rng: np.random.Generator, water: float, floor: float, class_map: ClassMap
) -> Frame:
    """`frame` on ground under `water` metres of water, with a sensor whose noise is `floor` times
    the fitted one. Nothing is drawn. Ground that is lost is left out; all else stays as it is."""
    rows = ground_rows(frame, class_map)
    if not len(rows):
        return frame
    distance, cosine = incidence(frame.points[rows])
    dry = frame.intensity[rows].astype(np.float64)
    flat = dry / cosine
    line = np.polyfit(distance, flat, 1)
    power = np.maximum(15 * np.polyval(line, distance), 1e-9)
    raw = flat / power
    theta = np.arccos(cosine)
    film = film_return(theta, np.clip(raw, 0.05, 1))
    part = np.clip(water / FULL_FILM, 0, 1)
    mixed = (1 - part) * raw + part * film / np.maximum(theta, 1e-3)
    wet = np.clip(power * cosine * mixed, 0, dry)
    least = np.polyval(noise_floor(distance, flat, floor, 15 * line), distance) * cosine
    intensity = frame.intensity.astype(np.float64)
    intensity[rows] = wet
    kept = np.ones(frame.num_points, bool)
    kept[rows[wet <= least]] = False
    return select(changed(frame, intensity=intensity), kept)

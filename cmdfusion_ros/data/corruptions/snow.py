"""Falling snow in a cloud after Hahner et al., CVPR 2022 (section 3), as Robo3D uses it.

Flakes are disks in the plane that a beam sweeps. A beam gives part of its power to the flakes
that it meets and the rest to its target; the sensor reports the strongest echo. Three departures,
for speed: the share of the beam that a flake takes is its own width times the expected rest of
the nearer ones, not a union of intervals; flakes of one field may overlap (they fill a millionth
of it); the focus of single lasers, which is known of the HDL-64E alone, is left out.
"""

import numpy as np

from cmdfusion_ros.class_map import ClassMap
from cmdfusion_ros.data.augment.mix import select
from cmdfusion_ros.data.corruptions.points import changed
from cmdfusion_ros.data.corruptions.wet_ground import ground_rows, incidence, noise_floor
from cmdfusion_ros.frame import Frame

FIELDS = 64
_RADIUS, _BEAM = 80.0, 0.003  # metres of a field, radians of a beam
_PULSE = 10e-9 * 299_792_458.0  # metres: c tau
_BIN, _REACH = 0.1, 120.0
_FULL, _ALBEDO, _FLOOR = 255.0, 0.9, 0.7
_SAME = 0.2  # metres by which an echo may move and still be the target's
_PITCH = np.radians((-25.0, 3.0))


def rain_of(snowfall: float, velocity: float) -> tuple[float, float]:
    """(rain rate in mm/h, part of the area that flakes fill) of a snowfall in mm/h of water and
    flakes that fall at `velocity` m/s."""
    rate = (snowfall / (487 * 0.1 * 0.003 * velocity)) ** 1.5
    return rate, snowfall / (3.6e6 * 0.1 * velocity)


def flake_field(number: int, snowfall: float, velocity: float) -> np.ndarray:
    """(F, 3) flakes of a field, always the same: distance, azimuth, radius (metres, radians)."""
    rate, occupancy = rain_of(snowfall, velocity)
    rng = np.random.default_rng([42, number])
    mean = 0.01 / (25.5 * rate**-0.48)  # metres; "gunn"
    wanted, parts, filled = occupancy * np.pi * _RADIUS**2, [], 0.0
    while filled < wanted:
        diameter = rng.exponential(mean, 8192)
        diameter = diameter[diameter <= 0.02]
        height = rng.uniform(-0.5, 0.5, len(diameter)) * diameter
        radius = np.sqrt((diameter / 2) ** 2 - height**2)
        areas = np.cumsum(np.pi * radius**2)
        parts.append(radius[: np.searchsorted(areas, wanted - filled) + 1])
        filled += float(areas[min(len(parts[-1]), len(areas)) - 1])
    radius = np.concatenate(parts)
    distance = _RADIUS * np.sqrt(rng.random(len(radius)))
    azimuth = rng.uniform(-np.pi, np.pi, len(radius))
    clear = distance > np.maximum(radius, 0.05)
    return np.c_[distance, azimuth, radius][clear]


def _meetings(azimuth: np.ndarray, distance: np.ndarray, flakes: np.ndarray) -> tuple:
    """(beam, flake distance, share of the beam) of every flake before the target of a beam of one
    ring, sorted by beam and distance."""
    flakes = flakes[np.argsort(flakes[:, 1])]
    ring = np.concatenate([flakes[:, 1] - 2 * np.pi, flakes[:, 1], flakes[:, 1] + 2 * np.pi])
    widest = _BEAM / 2 + float(np.arctan2(flakes[:, 2], flakes[:, 0]).max(initial=0.0))
    first = np.searchsorted(ring, azimuth - widest)
    last = np.searchsorted(ring, azimuth + widest)
    beam = np.repeat(np.arange(len(azimuth)), last - first)
    place = np.arange(len(beam)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
    place = place + first[beam]
    met, angle = flakes[place % max(len(flakes), 1)], ring[place]
    half = np.arctan2(met[:, 2], met[:, 0])
    low = np.maximum(angle - half, azimuth[beam] - _BEAM / 2)
    high = np.minimum(angle + half, azimuth[beam] + _BEAM / 2)
    kept = (high > low) & (met[:, 0] < distance[beam])
    beam, depth, share = beam[kept], met[kept, 0], (high - low)[kept] / _BEAM
    order = np.lexsort((depth, beam))
    return beam[order], depth[order], np.clip(share[order], 0, 1)


def _rest_before(beam: np.ndarray, share: np.ndarray, number: int) -> tuple:
    """(expected rest of the beam before each meeting, rest (number,) of each beam after all)."""
    logs = np.log1p(-np.minimum(share, 1 - 1e-9))
    total = np.bincount(beam, logs, minlength=number)
    running = np.cumsum(logs) - logs
    start = np.concatenate([[0.0], np.cumsum(total)])[beam]
    return np.exp(running - start), np.exp(total)


def _echoes(azimuth: np.ndarray, distance: np.ndarray, value: np.ndarray, flakes: np.ndarray):
    """(distance, value, met) of the strongest echoes of one ring's beams. Values are 0 to 255."""
    beam, depth, share = _meetings(azimuth, distance, flakes)
    result, echo = distance.copy(), value.copy()
    if not len(beam):
        return result, echo, np.zeros(len(distance), bool)
    before, rest = _rest_before(beam, share, len(distance))
    met = np.zeros(len(distance), bool)
    met[beam] = True
    places = np.cumsum(met) - 1
    rows = np.flatnonzero(met)
    width = int(np.ceil(_PULSE / _BIN)) + 1
    grid = np.zeros((len(rows), int((_REACH + _PULSE) / _BIN) + width + 2))
    overlap = np.clip((depth - 0.9) / 0.1, 0, 1)
    strength = _ALBEDO * _FULL * share * before * overlap / depth**2
    sources = np.concatenate([places[beam], np.arange(len(rows))])
    starts = np.concatenate([depth, np.minimum(distance[rows], _REACH)])
    powers = np.concatenate([strength, value[rows] * rest[rows]])
    first = np.ceil(starts / _BIN).astype(np.int64)
    for step in range(width):
        column = first + step
        behind = column * _BIN - starts
        pulse = np.where(behind <= _PULSE, np.sin(np.pi * behind / _PULSE) ** 2, 0.0)
        np.add.at(grid, (sources, column), powers * pulse)
    peak = grid.argmax(1)
    result[rows] = peak * _BIN - _PULSE / 2
    echo[rows] = grid[np.arange(len(rows)), peak]
    far = rows[distance[rows] > _REACH]
    result[far], echo[far], met[far] = distance[far], value[far], False
    return result, echo, met


def snow(
    frame: Frame,
    rng: np.random.Generator,
    snowfall: float,
    velocity: float,
    class_map: ClassMap,
) -> Frame:
    """`frame` in falling snow.

    Args:
        snowfall: mm/h of water. velocity: of the flakes, m/s.

    A point whose strongest echo is a flake moves there on its ray and is noise; others only grow
    dimmer. What is dimmer than the noise of the sensor, fitted to the ground, is lost.
    """
    points = frame.points.astype(np.float64)
    distance = np.maximum(np.linalg.norm(points, axis=1), 1e-6)
    azimuth = np.arctan2(points[:, 1], points[:, 0])
    pitch = np.arcsin(np.clip(points[:, 2] / distance, -1, 1))
    part = (_PITCH[1] - pitch) / (_PITCH[1] - _PITCH[0])
    rings = np.clip((part * FIELDS).astype(np.int64), 0, FIELDS - 1)
    fields = rng.permutation(FIELDS)
    value = _FULL * frame.intensity.astype(np.float64)
    moved, echo = distance.copy(), value.copy()
    met = np.zeros(len(distance), bool)
    for ring in range(FIELDS):
        rows = np.flatnonzero(rings == ring)
        if len(rows):
            flakes = flake_field(int(fields[ring]), snowfall, velocity)
            found = _echoes(azimuth[rows], distance[rows], value[rows], flakes)
            moved[rows], echo[rows], met[rows] = found
    flake = met & (np.abs(moved - distance) >= _SAME)
    factor = np.where(flake, moved / distance, 1.0)
    result = changed(frame, points * factor[:, None], echo / _FULL, flake)
    return select(result, flake | (echo > _least(frame, class_map, value, distance)))


def _least(
    frame: Frame, class_map: ClassMap, value: np.ndarray, distance: np.ndarray
) -> np.ndarray:
    """(N,) least intensity, 0 to 255, that the sensor reports; below 0 where nothing is known."""
    rows = ground_rows(frame, class_map)
    if not len(rows):
        return np.full(len(distance), -1.0)
    far, cosine = incidence(frame.points[rows])
    flat = value[rows] / cosine
    line = np.polyfit(far, flat, 1)
    floor = np.polyval(noise_floor(far, flat, _FLOOR, 15 * line), far) * cosine
    return np.polyval(np.polyfit(far, floor, 2), np.clip(distance, far.min(), far.max()))

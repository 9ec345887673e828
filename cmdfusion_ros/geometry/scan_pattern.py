"""How many beams a turning LiDAR has, told from the points of one scan."""

import numpy as np

_NEAREST = 3.0  # metres: nearer, what the vehicle moves during a scan smears the elevations
_SECTORS = (1.0, 2.0)  # degrees of azimuth, in which a beam gives several points
_APART = 0.06  # degrees between two beams; the densest LiDARs have 0.1
_NARROW = 0.25  # degrees that one beam may spread within a sector
_LEAST_SECTORS, _LEAST_SHARE = 20, 0.7
_BUILT = (8, 16, 20, 24, 32, 40, 48, 64, 80, 96, 120, 128, 192, 256)


def count_beams(points: np.ndarray) -> int:
    """How many beams a turning LiDAR has, by the elevations of one scan; 0 where its points do not
    lie on beams (solid-state LiDARs, several clouds in one, too few points).

    Elevations of a whole scan are smeared by the vehicle's motion. Within a degree of azimuth they
    lie on narrow steps, which are counted; beams that see the sky are missing there, so what counts
    is where nearly the most are seen.

    Args:
        points: (N, 3) float64, metres, in the axes of the sensor with its origin.
    """
    distance = np.linalg.norm(points, axis=1)
    points, distance = points[distance > _NEAREST], distance[distance > _NEAREST]
    azimuth = np.degrees(np.arctan2(points[:, 1], points[:, 0])) % 360.0
    elevation = np.degrees(np.arcsin((points[:, 2] / distance).clip(-1, 1)))
    for width in _SECTORS:
        sector = (azimuth / width).astype(np.int64)
        order = np.lexsort((elevation, sector))
        sorted_sector, steps = sector[order], elevation[order]
        new = (np.diff(sorted_sector, prepend=-1) != 0) | (np.diff(steps, prepend=-999) > _APART)
        starts = np.flatnonzero(new)
        sizes = np.diff(np.r_[starts, len(steps)])
        ends = starts + sizes - 1
        beam = (sizes >= 2) & (steps[ends] - steps[starts] < _NARROW)
        counts = np.bincount(sorted_sector[starts[beam]])
        counts = counts[counts > 1]
        middles = (steps[starts] + steps[ends])[beam] / 2
        if (
            len(counts) >= _LEAST_SECTORS
            and sizes[beam].sum() > _LEAST_SHARE * len(steps)
            and _recurring(sorted_sector[starts[beam]], middles) > _LEAST_SHARE
        ):
            return _as_built(round(float(np.quantile(counts, 0.98))))
    return 0


def _recurring(sector: np.ndarray, middles: np.ndarray) -> float:
    """Share of the steps that the next sector has too; those of a solid-state LiDAR are chance."""
    keys = 1000.0 * sector + middles  # ascending
    wanted = keys + 1000.0
    there = np.isin(sector + 1, sector)
    place = np.searchsorted(keys, wanted).clip(1, len(keys) - 1)
    away = np.minimum(np.abs(keys[place] - wanted), np.abs(keys[place - 1] - wanted))
    return float((away[there] < _APART).mean()) if there.any() else 0.0


def _as_built(number: int) -> int:
    """The nearest number that LiDARs are built with, where it is near: a fast vehicle doubles a
    step here and there, and what returns nothing is not counted.
    """
    nearest = min(_BUILT, key=lambda built: abs(built - number))
    return nearest if abs(nearest - number) <= 0.1 * nearest else number

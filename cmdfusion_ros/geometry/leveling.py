"""How a cloud lies to what the networks expect: z up over the ground, origin in the sensor, metres.

Networks are trained on clouds in the LiDAR's frame. On the real drive of the tests 2 degrees of
tilt cost 10 points of mIoU, 1.8 m of height 26; turning about the vertical and the law of the
intensity cost nothing, so neither is touched. Here is what can be seen in one cloud: the unit of
its coordinates, the ground, and the place that the beams come from. Who decides for a stream of
clouds is `labelling/network_frame.py`.
"""

from dataclasses import dataclass

import numpy as np

# heights of the sensor over the ground that the shipped weights have learnt, metres
KNOWN_HEIGHTS = (0.4, 3.5)
USUAL_HEIGHT = 1.8  # metres, of the real drive that the weights were trained on
UNITS = {"metres": 1.0, "centimetres": 0.01, "millimetres": 0.001}

_NEAR = 25.0  # metres: ground farther away may slope otherwise
_CELL = 1.0  # metres
_INLIER = 0.12  # metres from the plane
_BELOW = 0.35  # metres under the plane at which a point speaks against it
_MOST_BELOW = 0.06  # share of the points; reflections in puddles and glass lie under the ground
_LEAST_CELLS = 25  # square metres of ground that must be seen
_LEAST_SHARE = 0.3  # of the cells in which there are points
_STEEPEST = np.tan(np.radians(30.0))  # of a plane against the direction that is tried
_DRAWS = 150
_SAMPLE = 40_000
_BEAM_SAMPLE = 5000
_LEAST_STANDING = 1000
_BEAM_BIN = 0.2  # degrees of elevation
_CIRCLE_BIN = 0.25  # metres
SHARP = 1.02  # see `find_origin`


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground around a place, as a plane: `up @ point = level`.

    Attributes:
        up: (3,) float64, unit vector away from the ground.
        level: float, metres.
        area: square metres in which it was seen.
        share: of the square metres in which there are points.
        below: share of the points that lie under it.
    """

    up: np.ndarray
    level: float
    area: float
    share: float
    below: float

    def height(self, place: np.ndarray) -> float:
        """Metres of a (3,) place over the ground, negative under it."""
        return float(self.up @ place - self.level)


def sample_points(points: np.ndarray, num: int = _SAMPLE) -> np.ndarray:
    """At most `num` of the finite (N, 3) points, without those at (0, 0, 0), as float64, spread
    evenly over the rows.
    """
    points = points[:: max(1, len(points) // num)].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return points[np.isfinite(points).all(axis=1) & (np.abs(points) > 0).any(axis=1)]


def find_ground(points: np.ndarray, centre: np.ndarray, up: np.ndarray) -> Ground | None:
    """The ground about `centre`, searched within 30 degrees of the direction `up`.

    The lowest point of every square metre, and the plane through most of them (RANSAC, then least
    squares). A plane with more than a few points under it is none: an upside-down scene has its
    houses there.

    Args:
        points: (N, 3) float64, metres. centre: (3,) metres. up: (3,) unit vector.

    Returns:
        Ground, or None where there is none to be sure of.
    """
    turned = rotation_to_z(up)
    local = (points - centre) @ turned.T
    local = local[np.einsum("ij,ij->i", local[:, :2], local[:, :2]) < _NEAR**2]
    lows = _lowest_of_cells(local)
    if len(lows) < _LEAST_CELLS:
        return None
    plane = _most_common_plane(lows)
    if plane is None:
        return None
    for reach in (2 * _INLIER, _INLIER, _INLIER):  # from the lows of cells to all points on it
        near = np.abs(_over(local, plane)) < reach
        plane = _fit_plane(local[near], plane)
    cells = np.abs(_over(lows, plane)) < 2 * _INLIER
    share = float(cells.mean())
    below = float((_over(local, plane) < -_BELOW).mean())
    if cells.sum() < _LEAST_CELLS or share < _LEAST_SHARE or below > _MOST_BELOW:
        return None
    normal = np.array([-plane[0], -plane[1], 1.0])
    normal /= np.linalg.norm(normal)
    found = normal @ turned  # back in the cloud's axes
    level = plane[2] * normal[2] + found @ centre
    return Ground(found, float(level), float(cells.sum()) * _CELL**2, share, below)


def _lowest_of_cells(local: np.ndarray) -> np.ndarray:
    """(C, 3): of each square metre with at least three points the third lowest, which no single
    stray point decides.
    """
    keys = np.floor(local[:, :2] / _CELL).astype(np.int64)
    code = keys[:, 0] * 100_003 + keys[:, 1]
    order = np.lexsort((local[:, 2], code))
    code = code[order]
    starts = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
    counts = np.diff(np.r_[starts, len(code)])
    third = starts[counts >= 3] + 2
    return local[order[third]]


def _most_common_plane(lows: np.ndarray) -> np.ndarray | None:
    """(a, b, c) of z = a x + b y + c through most of the (C, 3) lows; None where all are steep."""
    random = np.random.default_rng(0)
    picks = random.integers(0, len(lows), (_DRAWS, 3))
    best, most = None, 0
    for pick in picks:
        three = lows[pick]
        matrix = np.c_[three[:, :2], np.ones(3)]
        if abs(np.linalg.det(matrix)) < 1.0:  # square metres: too near each other to span a plane
            continue
        plane = np.linalg.solve(matrix, three[:, 2])
        if np.hypot(plane[0], plane[1]) > _STEEPEST:
            continue
        count = int((np.abs(_over(lows, plane)) < _INLIER).sum())
        if count > most:
            best, most = plane, count
    return best


def _over(points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    return points[:, 2] - points[:, :2] @ plane[:2] - plane[2]


def _fit_plane(points: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Least squares with every square metre counting alike, however many points lie in it."""
    if len(points) < 3:
        return plane
    keys = np.floor(points[:, :2] / _CELL).astype(np.int64)
    _, inverse, counts = np.unique(
        keys[:, 0] * 100_003 + keys[:, 1], return_inverse=True, return_counts=True
    )
    weight = 1 / np.sqrt(counts[inverse])
    matrix = np.c_[points[:, :2], np.ones(len(points))] * weight[:, None]
    return np.linalg.lstsq(matrix, points[:, 2] * weight, rcond=None)[0]


def rotation_to_z(up: np.ndarray) -> np.ndarray:
    """The (3, 3) rotation that takes the unit vector `up` to z by the shortest arc. Where `up` is
    -z, half a turn about x: what was ahead stays ahead.
    """
    up = np.asarray(up, np.float64)
    cosine = up[2]
    if cosine < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    if cosine < 0:  # half a turn about x first, then the rest, which is short
        return rotation_to_z(np.array([up[0], -up[1], -up[2]])) @ np.diag([1.0, -1.0, -1.0])
    cross = np.array([[0, 0, -up[0]], [0, 0, -up[1]], [up[0], up[1], 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)


def beam_sharpness(points: np.ndarray, origin: np.ndarray, axis: np.ndarray) -> float:
    """How well `origin` explains the points as beams of a turning LiDAR about `axis`: 1 where the
    elevations are smeared, more where they lie on a few of them.

    Args:
        points: (N, 3) float64, metres. origin: (3,). axis: (3,) unit vector.
    """
    seen = points - origin
    distance = np.sqrt(np.einsum("ij,ij->i", seen, seen))
    kept = distance > 2.0
    sine = np.clip((seen[kept] @ axis) / distance[kept], -1, 1)
    return _contrast((np.degrees(np.arcsin(sine)) + 90) / _BEAM_BIN)


def _contrast(values: np.ndarray) -> float:
    """How much values >= 0 gather in whole numbers, against the 15 about each: 1 = not at all."""
    counts = np.bincount(values.astype(np.int64)).astype(np.float64)
    smooth = np.convolve(counts, np.full(15, 1 / 15), "same")
    there, about = float(counts @ counts), float(counts @ smooth)
    return there / max(about, 1e-9) if len(values) else 1.0


def find_origin(points: np.ndarray, start: np.ndarray, ground: Ground) -> tuple[np.ndarray, float]:
    """Where the beams of a turning LiDAR come from.

    Its beams draw circles on the ground: their common centre first, then the height at which the
    elevations of all points are sharpest, then both together. The axis that the LiDAR turns about
    is taken to be `beam_axis` of the ground.

    Args:
        points: (N, 3) float64, metres. start: (3,) a first guess within some ten metres.
        ground: Ground about it.

    Returns:
        (origin (3,), how much sharper the beams are there than a metre beside it: from SHARP on
        it is the place; a solid-state LiDAR or several clouds in one have about 1).
    """
    axis = beam_axis(ground.up)
    foot = _centre_of_circles(points, start, ground)
    near = points[np.linalg.norm(points - foot, axis=1) < _NEAR]
    near = telling_points(near, ground)
    sides, steps = rotation_to_z(axis), 0.3 * np.arange(-5, 6)
    heights = foot + ground.up * np.arange(0.3, 3.6, 0.15)[:, None]
    grid = [there + sides.T @ (x, y, 0) for there in heights for x in steps for y in steps]
    some = near[::2]
    place = max(grid, key=lambda there: beam_sharpness(some, there, axis))
    for step in (0.1, 0.03):
        place = _climb(near, place, foot, ground, axis, step)
    return place, relative_sharpness(near, place, axis)


def telling_points(points: np.ndarray, ground: Ground) -> np.ndarray:
    """A sample of those of the (N, 3) points that tell how high the beams begin: what stands on
    the ground. A circle on flat ground is one from every height.
    """
    standing = points[points @ ground.up - ground.level > _BELOW]
    telling = standing if len(standing) > _LEAST_STANDING else points
    return telling[:: max(1, len(telling) // _BEAM_SAMPLE)]


def relative_sharpness(points: np.ndarray, place: np.ndarray, axis: np.ndarray) -> float:
    """`beam_sharpness` at a place over that a metre beside it."""
    beside = [
        beam_sharpness(points, place + sign * side, axis)
        for side in rotation_to_z(axis)
        for sign in (-1, 1)
    ]
    return beam_sharpness(points, place, axis) / float(np.median(beside))


def _centre_of_circles(points: np.ndarray, start: np.ndarray, ground: Ground) -> np.ndarray:
    """The (3,) place on the ground about which most of its points lie on circles."""
    flat = rotation_to_z(ground.up)[:2]
    on_ground = points[np.abs(points @ ground.up - ground.level) < _INLIER]
    on_ground = (on_ground - start) @ flat.T
    on_ground = on_ground[np.einsum("ij,ij->i", on_ground, on_ground) < _NEAR**2]
    on_ground = on_ground[:: max(1, len(on_ground) // _BEAM_SAMPLE)]

    def evidence(centre: np.ndarray) -> float:
        distance = np.hypot(*(on_ground - centre).T)
        distance = distance[(distance > 2.0) & (distance < 16.0)]
        return (_contrast(distance / _CIRCLE_BIN) - 1) * len(distance)

    best = np.zeros(2)
    for step, reach in ((1.0, 10), (0.3, 4)):
        steps = step * np.arange(-reach, reach + 1)
        best = max((best + (x, y) for x in steps for y in steps), key=evidence)
    place = start + best @ flat
    return place - ground.up * ground.height(place)


def beam_axis(up: np.ndarray, within_deg: float = 12.0) -> np.ndarray:
    """(3,) the axis of the cloud nearest to the unit vector `up`, where that is within so many
    degrees; else `up`. A street slopes, a mount seldom does.
    """
    axis = np.zeros(3)
    nearest = int(np.argmax(np.abs(up)))
    axis[nearest] = np.sign(up[nearest])
    return axis if axis @ up > np.cos(np.radians(within_deg)) else np.asarray(up, np.float64)


def _climb(
    points: np.ndarray,
    place: np.ndarray,
    foot: np.ndarray,
    ground: Ground,
    axis: np.ndarray,
    step: float,
) -> np.ndarray:
    """The sharpest place that steps along the three sides reach, within 2 m of `foot`'s plumb
    line and over the ground.
    """
    best = beam_sharpness(points, place, axis)
    for _ in range(12):
        before = best
        for side in rotation_to_z(axis):
            for sign in (-1, 1):
                there = place + sign * step * side
                aside = (there - foot) - ground.up * (ground.up @ (there - foot))
                if np.linalg.norm(aside) > 2.0 or not 0.2 < ground.height(there) < 6.0:
                    continue
                value = beam_sharpness(points, there, axis)
                if value > best:
                    place, best = there, value
        if best == before:
            break
    return place


def densest_place(points: np.ndarray) -> np.ndarray:
    """(3,): where points are densest in the large, which is about the sensor; robust to a few far
    ones. (N, 3) float64, N > 0.
    """
    place = np.median(points, axis=0)
    for radius in (60.0, 40.0, 25.0, 15.0, 15.0, 15.0):
        for _ in range(6):
            near = points[np.linalg.norm(points - place, axis=1) < radius]
            if not len(near):
                break
            place = near.mean(axis=0)
    return place


def extent_of(points: np.ndarray) -> float:
    """Robust size of a cloud in its own unit: 90 of 100 points lie within it of the median."""
    if not len(points):
        return 0.0
    away = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    return float(np.quantile(away, 0.9))

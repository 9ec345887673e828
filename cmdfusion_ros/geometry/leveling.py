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
_BEAM_SAMPLE = 2500
_LEAST_STANDING = 1000
_BEAM_LEAST = 2.0  # metres
_BEAM_BIN = np.radians(0.2)  # of elevation
_SECTORS = 180  # directions in which the ground begins
_LEAST_ARC = 30  # of them, on one circle
_CIRCLE_INLIER = 0.06  # metres
_LARGEST_CIRCLE = 12.0  # metres of radius
_MOST_CIRCLES = 3
_ASIDE = np.array([(0, 0), (4, 0), (-4, 0), (0, 4), (0, -4)], float)  # metres from a first guess
SHARP = 1.02  # see `find_origin`


@dataclass(frozen=True, eq=False)
class GroundPlane:
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


def find_ground(points: np.ndarray, centre: np.ndarray, up: np.ndarray) -> GroundPlane | None:
    """The ground about `centre`, searched within 30 degrees of the direction `up`.

    The lowest point of every square metre, and the plane through most of them (RANSAC, then least
    squares). A plane with more than a few points under it is none: an upside-down scene has its
    houses there.

    Args:
        points: (N, 3) float64, metres. centre: (3,) metres. up: (3,) unit vector.

    Returns:
        GroundPlane, or None where there is none to be sure of.
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
    return GroundPlane(found, float(level), float(cells.sum()) * _CELL**2, share, below)


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


def beam_sharpness(points: np.ndarray, origins: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """How well each of the origins explains the points as beams of a turning LiDAR about `axis`: 1
    where the elevations are smeared, more where they lie on a few of them.

    Args:
        points: (N, 3) float64, metres. origins: (K, 3). axis: (3,) unit vector.

    Returns:
        (K,) float64.
    """
    about = origins.mean(axis=0)
    local, places = (points - about).astype(np.float32), (origins - about).astype(np.float32)
    squares = np.einsum("ij,ij->i", local, local)
    kept = squares > _BEAM_LEAST**2
    local, squares, axis = local[kept], squares[kept], axis.astype(np.float32)
    distance = squares - 2 * places @ local.T  # (K, N)
    distance += np.einsum("ij,ij->i", places, places)[:, None]
    np.sqrt(np.maximum(distance, np.float32(0.01), out=distance), out=distance)
    sine = (local @ axis) - (places @ axis)[:, None]
    sine /= distance
    sine *= np.float32(0.9999 / _BEAM_BIN)  # beams lie about the level, where sine and angle agree
    half = int(1 / _BEAM_BIN) + 8
    codes = (sine + np.float32(half)).astype(np.int32)
    codes += np.arange(0, len(origins) * 2 * half, 2 * half, dtype=np.int32)[:, None]
    counts = np.bincount(codes.ravel(), minlength=len(origins) * 2 * half)
    counts = counts.reshape(len(origins), 2 * half).astype(np.float64)
    sums = np.cumsum(counts, axis=1)
    smooth = (sums[:, 15:] - sums[:, :-15]) / 15  # the mean of the 15 bins about each
    there, about_it = (counts**2).sum(axis=1), (counts[:, 8:-7] * smooth).sum(axis=1)
    return np.where(about_it > 0, there / np.maximum(about_it, 1e-9), 1.0)


def find_origin(
    points: np.ndarray, start: np.ndarray, ground: GroundPlane
) -> tuple[np.ndarray, float]:
    """Where the beams of a turning LiDAR come from.

    Its lowest beam draws a circle on the ground, within which there is none: the middle of that
    first, then the height at which the elevations of all points are sharpest, then both together.
    The axis that the LiDAR turns about is taken to be `beam_axis` of the ground.

    Args:
        points: (N, 3) float64, metres. start: (3,) a first guess, within the circle.
        ground: GroundPlane about it.

    Returns:
        (origin (3,), how much sharper the beams are there than a metre beside it: from SHARP on
        it is the place; a solid-state LiDAR or several clouds in one have about 1, and exactly 1
        where there is no circle).
    """
    axis = beam_axis(ground.up)
    places = _above_circles(points, start, ground, axis)
    if places is None:
        return start, 1.0
    squares = np.einsum("ij,ij->i", points - start, points - start)
    near = telling_points(points[squares < _NEAR**2], ground)
    place = _sharpest(near[::2], places, axis)
    around = np.stack(np.meshgrid(*[0.25 * np.arange(-6, 7)] * 2, 0.15 * np.arange(-1, 2)), -1)
    around = around.reshape(-1, 3)[np.linalg.norm(around.reshape(-1, 3)[:, :2], axis=1) < 1.6]
    place = _sharpest(near[::2], place + around @ rotation_to_z(axis), axis)
    for step in (0.1, 0.03):
        place = _climb(near, place, ground, axis, step)
    return place, relative_sharpness(near, place, axis)


def _sharpest(points: np.ndarray, places: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return places[beam_sharpness(points, places, axis).argmax()]


def telling_points(points: np.ndarray, ground: GroundPlane) -> np.ndarray:
    """A sample of those of the (N, 3) points that tell how high the beams begin: what stands on
    the ground. A circle on flat ground is one from every height.
    """
    standing = points[points @ ground.up - ground.level > _BELOW]
    telling = standing if len(standing) > _LEAST_STANDING else points
    return telling[:: max(1, len(telling) // _BEAM_SAMPLE)]


def relative_sharpness(points: np.ndarray, place: np.ndarray, axis: np.ndarray) -> float:
    """`beam_sharpness` at a place over that a metre beside it."""
    sides = np.concatenate([rotation_to_z(axis), -rotation_to_z(axis)])
    there, *beside = beam_sharpness(points, np.concatenate([place[None], place + sides]), axis)
    return float(there / np.median(beside))


def _above_circles(
    points: np.ndarray, start: np.ndarray, ground: GroundPlane, axis: np.ndarray
) -> np.ndarray | None:
    """(K, 3) places over the middles of circles within which no ground is seen; None where there
    is no such circle.
    """
    flat = rotation_to_z(ground.up)[:2]
    on_ground = points[np.abs(points @ ground.up - ground.level) < _INLIER]
    on_ground = (on_ground - start) @ flat.T
    found = [circle for aside in _ASIDE if (circle := _circle_about(on_ground, aside))]
    if not found:
        return None
    heights = np.arange(0.3, 3.6, 0.05)[:, None]
    # A cone about an axis that is not upright meets the ground in an ellipse, whose middle lies
    # downhill of the axis.
    downhill = axis - (axis @ ground.up) * ground.up
    places = []
    for middle, radius, _ in sorted(found, key=lambda circle: -circle[2])[:_MOST_CIRCLES]:
        foot = start + middle @ flat
        foot -= ground.up * ground.height(foot)
        places.append(foot + ground.up * heights - downhill * radius**2 / heights)
    return np.concatenate(places)


def _circle_about(
    on_ground: np.ndarray, middle: np.ndarray
) -> tuple[np.ndarray, float, int] | None:
    """(middle (2,), radius, size) of the circle where the (N, 2) ground begins, as seen from
    `middle`, and from the middle that is found.
    """
    first = _most_common_circle(_inner_edge(on_ground, middle), middle)
    return first and _most_common_circle(_inner_edge(on_ground, first[0]), first[0])


def _inner_edge(points: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """(S, 2): in each direction from `middle` (2,) the nearest of the (N, 2) points."""
    away = points - middle
    distance = np.hypot(away[:, 0], away[:, 1])
    sector = ((np.arctan2(away[:, 1], away[:, 0]) / np.pi + 1) * (_SECTORS / 2)).astype(np.int64)
    order = np.lexsort((distance, sector))
    first = np.flatnonzero(np.diff(sector[order], prepend=-1))
    return points[order[first]][distance[order[first]] < _LARGEST_CIRCLE]


def _most_common_circle(
    edge: np.ndarray, about: np.ndarray
) -> tuple[np.ndarray, float, int] | None:
    """(middle (2,), radius, how many) of the circle through most of the (S, 2) points; None where
    those are too few.
    """
    if len(edge) < _LEAST_ARC:
        return None
    random = np.random.default_rng(0)
    # of neighbours: the vehicle hides the innermost circle on one side, the next on another
    steps = np.c_[np.zeros(_DRAWS, int), random.integers(5, 25, (_DRAWS, 2)).cumsum(axis=1)]
    picks = (random.integers(0, len(edge), (_DRAWS, 1)) + steps) % len(edge)
    one, two, three = edge[picks].swapaxes(0, 1)
    a, b = two - one, three - one
    cross = 2 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    kept = np.abs(cross) > 1.0  # square metres: three places far apart
    a, b, one, cross = a[kept], b[kept], one[kept], cross[kept]
    along, across = (a * a).sum(axis=1) / cross, (b * b).sum(axis=1) / cross
    offset = np.stack([b[:, 1] * along - a[:, 1] * across, a[:, 0] * across - b[:, 0] * along], 1)
    middles, radii = one + offset, np.hypot(*offset.T)
    kept = (radii < _LARGEST_CIRCLE) & (np.hypot(*(middles - about).T) < _LARGEST_CIRCLE)
    middles, radii = middles[kept], radii[kept]
    if not len(middles):
        return None
    away = np.linalg.norm(edge - middles[:, None], axis=2)
    on_it = np.abs(away - radii[:, None]) < _CIRCLE_INLIER  # (draws, S)
    best = on_it.sum(axis=1).argmax()
    if on_it[best].sum() < _LEAST_ARC:
        return None
    chosen = edge[on_it[best]]
    matrix = np.c_[2 * chosen, np.ones(len(chosen))]
    *middle, rest = np.linalg.lstsq(matrix, (chosen**2).sum(axis=1), rcond=None)[0]
    middle = np.array(middle)
    return middle, float(np.sqrt(rest + middle @ middle)), len(chosen)


def beam_axis(up: np.ndarray, within_deg: float = 12.0) -> np.ndarray:
    """(3,) the axis of the cloud nearest to the unit vector `up`, where that is within so many
    degrees; else `up`. A street slopes, a mount seldom does.
    """
    axis = np.zeros(3)
    nearest = int(np.argmax(np.abs(up)))
    axis[nearest] = np.sign(up[nearest])
    return axis if axis @ up > np.cos(np.radians(within_deg)) else np.asarray(up, np.float64)


def _climb(
    points: np.ndarray, place: np.ndarray, ground: GroundPlane, axis: np.ndarray, step: float
) -> np.ndarray:
    """The sharpest place over the ground that steps along the three sides reach."""
    sides = rotation_to_z(axis)
    steps = step * np.concatenate([np.zeros((1, 3)), sides, -sides])
    for _ in range(12):
        places = place + steps
        heights = places @ ground.up - ground.level
        allowed = (heights > 0.2) & (heights < 6.0)
        best = np.where(allowed, beam_sharpness(points, places, axis), -1.0).argmax()
        if best == 0:
            break
        place = places[best]
    return place


def densest_place(points: np.ndarray) -> np.ndarray:
    """(3,): where points are densest in the large, which is about the sensor; robust to a few far
    ones. (N, 3) float64, N > 0.
    """
    points = points[:: max(1, len(points) // _BEAM_SAMPLE)]
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

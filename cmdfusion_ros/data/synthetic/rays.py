"""All rays of a sensor against all solids: each part is tried only against the rows and columns of
rays that can meet it.

Rays lie in a grid, row by row from the top, so that "can meet it" is a rectangle of the grid:
bounds of the angles under which the part is seen.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cmdfusion_ros.data.synthetic.hits import HIT
from cmdfusion_ros.data.synthetic.solids import Solids

SKY, GROUND = -1, -2
_EDGES = np.array(
    [(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1]
)  # of a box, in the order of Solids.corners
_PAIRS = np.array([(a, b) for a in range(8) for b in range(a)])
_NEAR_PLANE = 0.05  # metres


@dataclass(frozen=True)
class Hits:
    """What each ray of a grid met first.

    Attributes:
        distance: (R, C) float32, metres; infinity where nothing within reach.
        index: (R, C) int32, row of the Solids, GROUND or SKY.
    """

    distance: np.ndarray
    index: np.ndarray


class SpinRays:
    """Rays of a spinning sensor. Column 0 looks backwards; columns go clockwise as seen from above,
    as real ones do.

    Args:
        world_from_sensor: (4, 4) in the middle of the turn.
        elevation: (R,) radians, descending.
        columns: number of them.
        period: seconds a turn takes; column c is fired (c + 0.5) / columns * period - period / 2
            after the middle.
        velocity: (3,) m/s of the sensor in the world. yaw_rate: rad/s.
        field: degrees in azimuth around ahead; no ray of the columns outside meets anything.
    """

    def __init__(
        self,
        world_from_sensor: np.ndarray,
        elevation: np.ndarray,
        columns: int,
        period: float = 0.1,
        velocity: ArrayLike = (0.0, 0.0, 0.0),
        yaw_rate: float = 0.0,
        field: float = 360.0,
    ):
        self.shape = (len(elevation), columns)
        self.origin = world_from_sensor[:3, 3].copy()
        self.seconds = (((np.arange(columns) + 0.5) / columns - 0.5) * period).astype(
            np.float64
        )  # (C,)
        self.velocity = np.asarray(velocity, np.float64)
        self._sensor_from_world = world_from_sensor[:3, :3].T
        self._elevation, self._half_turn, self._yaw_margin = (
            elevation,
            period / 2,
            abs(yaw_rate) * period / 2,
        )
        azimuth = (
            np.pi - (np.arange(columns) + 0.5) / columns * 2 * np.pi + yaw_rate * self.seconds
        )  # in the sensor's axes of the middle
        self.blind = np.abs(azimuth) > np.radians(field) / 2 if field < 360 else None  # (C,)
        e, a = np.meshgrid(elevation, azimuth, indexing="ij")
        sensor = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
        self.directions = np.einsum("ij,jrc->irc", world_from_sensor[:3, :3], sensor).astype(
            np.float32
        )

    def windows(
        self, solids: Solids, reach: float
    ) -> Iterator[tuple[int, float, int, int, int, int]]:
        """Where to try which part.

        Yields:
            (part, least distance, row, end row, column, end column) of every part and rectangle of
            rays that may meet it within `reach` metres, the nearest part first.
        """
        corners = (solids.corners() - self.origin) @ self._sensor_from_world.T  # (P, 8, 3)
        drift = np.linalg.norm(solids.velocity - self.velocity, axis=1) * self._half_turn
        near = np.maximum(_distance_from_axis(corners[..., :2]) - drift, 0.0)
        far = np.hypot(corners[..., 0], corners[..., 1]).max(axis=1) + drift
        top, bottom = corners[..., 2].max(axis=1) + drift, corners[..., 2].min(axis=1) - drift
        upper = np.arctan2(top, np.where(top > 0, near, far)) + 1e-3
        lower = np.arctan2(bottom, np.where(bottom < 0, near, far)) - 1e-3
        azimuth = np.arctan2(corners[..., 1], corners[..., 0])
        mean = np.arctan2(corners[..., 1].mean(axis=1), corners[..., 0].mean(axis=1))
        spread = np.angle(np.exp(1j * (azimuth - mean[:, None])))
        margin = (
            np.arcsin(np.minimum(drift / np.maximum(near, 1e-6), 1.0)) + self._yaw_margin + 1e-3
        )
        left, right = mean + spread.max(axis=1) + margin, mean + spread.min(axis=1) - margin
        around = (near < 0.05) | (left - right > 2 * np.pi - 0.2)
        rising = -self._elevation
        first_row, last_row = (
            np.searchsorted(rising, -upper),
            np.searchsorted(rising, -lower, side="right"),
        )
        step = 2 * np.pi / self.shape[1]
        first, last = (
            np.floor((np.pi - left) / step - 0.5).astype(int),
            np.ceil((np.pi - right) / step + 0.5).astype(int),
        )
        columns = self.shape[1]
        for part in _nearest_first((first_row < last_row) & (near < reach), near):
            head = part, float(near[part]), int(first_row[part]), int(last_row[part])
            if around[part]:
                yield (*head, 0, columns)
                continue
            start = first[part] % columns
            stop = start + last[part] - first[part]
            yield (*head, int(start), int(min(stop, columns)))
            if stop > columns:
                yield (*head, 0, int(stop - columns))

    def local(
        self, local_from_world: np.ndarray, velocity: np.ndarray, rows: slice, columns: slice
    ) -> tuple[Any, Any]:
        """Origins and directions of a rectangle of rays in the coordinates of a part that moves
        at `velocity`: two triples of arrays.
        """
        linear = local_from_world[:, :3]
        start = linear @ self.origin + local_from_world[:, 3]
        drift = linear @ (self.velocity - velocity)
        o = [
            (start[axis] + drift[axis] * self.seconds[columns]).astype(np.float32)[None, :]
            for axis in range(3)
        ]
        return o, _turned(linear, self.directions[:, rows, columns])

    def origins(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(3, N) float64, world: where the rays of these rows and columns (each (N,)) start."""
        return self.origin[:, None] + self.velocity[:, None] * self.seconds[columns]


def _nearest_first(wanted, near):
    """The numbers of the parts that are `wanted` (P,), those with the least `near` (P,) first."""
    parts = np.flatnonzero(wanted)
    return parts[np.argsort(near[parts], kind="stable")].tolist()


def _distance_from_axis(corners):
    """(P,) distance in the plane from the origin to the convex hull of (P, 8, 2) corners; 0
    inside.
    """
    a, b = corners[:, _PAIRS[:, 0]], corners[:, _PAIRS[:, 1]]
    along = b - a
    t = np.clip(-(a * along).sum(axis=2) / np.maximum((along**2).sum(axis=2), 1e-12), 0, 1)
    distance = np.linalg.norm(a + t[..., None] * along, axis=2).min(axis=1)
    angles = np.sort(np.arctan2(corners[..., 1], corners[..., 0]), axis=1)
    gaps = np.concatenate(
        [np.diff(angles, axis=1), angles[:, :1] + 2 * np.pi - angles[:, -1:]], axis=1
    )
    return np.where(
        gaps.max(axis=1) > np.pi, distance, 0.0
    )  # an origin inside sees corners in every half plane


class ImageRays:
    """Rays of the pixels of a camera, all of one moment.

    Args:
        world_from_camera: (4, 4), optical frame (z forward, x right, y down).
        x, y: (H, W) float, ideal ray (x, y, 1) of each pixel, lens distortion undone; NaN where the
            lens sees nothing.
    """

    blind = None

    def __init__(self, world_from_camera: np.ndarray, x: np.ndarray, y: np.ndarray):
        self.shape = x.shape
        self.origin = world_from_camera[:3, 3].copy()
        self._camera_from_world = world_from_camera[:3, :3].T
        rays = np.stack([x, y, np.ones_like(x)])
        rays /= np.sqrt((rays**2).sum(axis=0))
        self.directions = np.einsum("ij,jrc->irc", world_from_camera[:3, :3], rays).astype(
            np.float32
        )
        self._columns = (
            np.maximum.accumulate(x.max(axis=0)),
            np.minimum.accumulate(x.min(axis=0)[::-1])[::-1],
        )
        self._rows = (
            np.maximum.accumulate(y.max(axis=1)),
            np.minimum.accumulate(y.min(axis=1)[::-1])[::-1],
        )

    def windows(
        self, solids: Solids, reach: float
    ) -> Iterator[tuple[int, float, int, int, int, int]]:
        """As `SpinRays.windows`."""
        corners = (solids.corners() - self.origin) @ self._camera_from_world.T  # (P, 8, 3)
        depth = corners[..., 2]
        a, b = corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]]
        fall = b[..., 2] - a[..., 2]
        t = (_NEAR_PLANE - a[..., 2]) / np.where(np.abs(fall) < 1e-9, 1e-9, fall)
        cut = a + np.clip(t, 0, 1)[..., None] * (b - a)  # where edges pass the near plane
        crosses = (a[..., 2] - _NEAR_PLANE) * (b[..., 2] - _NEAR_PLANE) < 0
        places = np.concatenate([corners, cut], axis=1)
        there = np.concatenate([depth >= _NEAR_PLANE, crosses], axis=1)
        scale = np.maximum(places[..., 2], _NEAR_PLANE)
        bounds = []
        for axis, (highest, lowest) in ((1, self._rows), (0, self._columns)):
            seen = places[..., axis] / scale
            low = np.where(there, seen, np.inf).min(axis=1) - 1e-3
            high = np.where(there, seen, -np.inf).max(axis=1) + 1e-3
            bounds += [np.searchsorted(highest, low), np.searchsorted(lowest, high, side="right")]
        near = np.linalg.norm(corners, axis=2).min(axis=1) - np.linalg.norm(solids.size, axis=1)
        for part in _nearest_first(
            there.any(axis=1) & (bounds[0] < bounds[1]) & (bounds[2] < bounds[3]) & (near < reach),
            near,
        ):
            yield (part, float(near[part]), *(int(bound[part]) for bound in bounds))

    def local(
        self, local_from_world: np.ndarray, velocity: np.ndarray, rows: slice, columns: slice
    ) -> tuple[Any, Any]:
        """As `SpinRays.local`."""
        linear = local_from_world[:, :3]
        start = (linear @ self.origin + local_from_world[:, 3]).astype(np.float32)
        return list(start), _turned(linear, self.directions[:, rows, columns])

    def origins(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """As `SpinRays.origins`."""
        return np.broadcast_to(self.origin[:, None], (3, len(rows)))


class SunRays:
    """Parallel rays from above: the grid in which shadows are kept. Row r, column c starts at
    corner + c * cell * right + r * cell * down.

    Args:
        toward_sun: (3,) unit vector. low, high: (2,) bounds of the ground that the grid must cover,
            world. cell: metres.
        height: metres above the ground up to which bodies reach.
    """

    blind = None

    def __init__(
        self,
        toward_sun: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        cell: float,
        height: float = 30.0,
    ):
        self._back = np.asarray(toward_sun, np.float64)
        right = np.cross((0.0, 0.0, 1.0), self._back)
        self._right = right / np.linalg.norm(right)
        self._down = -np.cross(self._back, self._right)
        ground = np.array(
            [
                (x, y, z)
                for x in (low[0], high[0])
                for y in (low[1], high[1])
                for z in (-3.0, height)
            ]
        )
        across, along = ground @ self._right, ground @ self._down
        self._start, self._cell = (across.min(), along.min()), cell
        self._top = (ground @ self._back).max() + 1.0
        self.shape = (
            int(np.ceil((along.max() - along.min()) / cell)),
            int(np.ceil((across.max() - across.min()) / cell)),
        )

    def cells(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, 3) world -> row, column (N,) int64 clipped into the grid, and distance (N,) that a
        ray of the sun travels to them.
        """
        column = np.clip(
            np.rint((points @ self._right.astype(points.dtype) - self._start[0]) / self._cell),
            0,
            self.shape[1] - 1,
        ).astype(np.int64)
        row = np.clip(
            np.rint((points @ self._down.astype(points.dtype) - self._start[1]) / self._cell),
            0,
            self.shape[0] - 1,
        ).astype(np.int64)
        return row, column, self._top - points @ self._back.astype(points.dtype)

    def windows(
        self, solids: Solids, reach: float
    ) -> Iterator[tuple[int, float, int, int, int, int]]:
        """As `SpinRays.windows`; `reach` is not used."""
        corners = solids.corners()
        bounds = []
        for axis, direction in enumerate((self._down, self._right)):
            seen = (corners @ direction - self._start[1 - axis]) / self._cell
            bounds += [
                np.floor(seen.min(axis=1)).clip(0, self.shape[axis]).astype(int),
                np.ceil(seen.max(axis=1) + 1).clip(0, self.shape[axis]).astype(int),
            ]
        for part in np.flatnonzero((bounds[0] < bounds[1]) & (bounds[2] < bounds[3])):
            yield (int(part), 0.0, *(int(bound[part]) for bound in bounds))

    def local(
        self, local_from_world: np.ndarray, velocity: np.ndarray, rows: slice, columns: slice
    ) -> tuple[Any, Any]:
        """As `SpinRays.local`."""
        linear = local_from_world[:, :3]
        corner = self._right * self._start[0] + self._down * self._start[1] + self._back * self._top
        start = linear @ corner + local_from_world[:, 3]
        across, along = linear @ self._right * self._cell, linear @ self._down * self._cell
        c, r = (
            np.arange(columns.start, columns.stop)[None, :],
            np.arange(rows.start, rows.stop)[:, None],
        )
        o = [
            (start[axis] + across[axis] * c + along[axis] * r).astype(np.float32)
            for axis in range(3)
        ]
        d = (linear @ -self._back).astype(np.float32)
        return o, list(d)


def _turned(linear, directions):
    """(3, 3) times (3, r, c) -> three (r, c) arrays."""
    linear = linear.astype(np.float32)
    return [
        linear[axis, 0] * directions[0]
        + linear[axis, 1] * directions[1]
        + linear[axis, 2] * directions[2]
        for axis in range(3)
    ]


def cast(
    rays: SpinRays | ImageRays | SunRays, solids: Solids, reach: float, ground: Any = None
) -> Hits:
    """The first hit of every ray of a grid.

    Args:
        rays: SpinRays, ImageRays or SunRays. solids: Solids. reach: metres. ground: Ground, or None
            for none.

    Returns:
        Hits.
    """
    distance = np.full(rays.shape, reach, np.float32)
    if rays.blind is not None:
        distance[:, rays.blind] = 0  # nothing is nearer
    index = np.full(rays.shape, SKY, np.int32)
    if ground is not None:
        ground.cast(rays, distance, index)
    _cast_onto(rays, solids, reach, distance, index)
    distance[index == SKY] = np.inf
    return Hits(distance, index)


def shorten(
    rays: SpinRays | ImageRays | SunRays, solids: Solids, distance: np.ndarray
) -> np.ndarray:
    """`distance` (R, C) float32 of the rays of a grid -> the same, shorter where a ray meets one
    of `solids` before.
    """
    shorter = distance.copy()
    _cast_onto(rays, solids, np.inf, shorter, None)
    return shorter


def _cast_onto(rays, solids, reach, distance, index):
    """Write hits nearer than `distance` into it, and into `index` (None for not) which part
    it was.
    """
    for part, least, row, end_row, column, end_column in rays.windows(solids, reach):
        rows, columns = slice(row, end_row), slice(column, end_column)
        window = distance[rows, columns]
        if least > 0 and window.max(initial=0) < least:
            continue  # wholly behind what has been hit
        o, d = rays.local(solids.local_from_world[part], solids.velocity[part], rows, columns)
        t = HIT[int(solids.kind[part])](o, d, solids.shape[part], solids.size[part], window)
        nearer = t < window
        window[nearer] = t[nearer]
        if index is not None:
            index[rows, columns][nearer] = part

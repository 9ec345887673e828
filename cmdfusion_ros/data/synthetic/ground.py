"""The ground: a smooth surface over a grid of a metre, raised by a kerb where the map of zones
says so.
"""

from dataclasses import dataclass

import numpy as np

from cmdfusion_ros.data.synthetic.rays import GROUND, ImageRays, SpinRays
from cmdfusion_ros.data.synthetic.street import Street

_STEPS = 24  # of the search along a ray
_CLOSE = 1e-3  # metres of height within which the search ends; one more step follows
_STEEPEST = np.float32(0.3)  # rays that rise more than this meet no ground within reach


@dataclass(frozen=True)
class Zone:
    """A kind of ground: name, raw SemanticKITTI id, albedo, LiDAR intensity, and whether it lies
    a kerb higher than the road.
    """

    name: str
    raw: int
    paint: tuple
    reflectance: float
    raised: bool


ZONES = (
    Zone("lawn", 72, (0.16, 0.19, 0.07), 0.36, True),
    Zone("asphalt", 40, (0.19, 0.19, 0.19), 0.27, False),
    Zone("marking", 60, (0.68, 0.68, 0.65), 0.52, False),
    Zone("parking asphalt", 44, (0.17, 0.17, 0.175), 0.28, False),
    Zone("parking stones", 44, (0.31, 0.29, 0.27), 0.31, False),
    Zone("slabs", 48, (0.37, 0.36, 0.34), 0.32, True),
    Zone("footway asphalt", 48, (0.22, 0.22, 0.22), 0.29, True),
    Zone("gravel", 49, (0.40, 0.36, 0.30), 0.32, True),
    Zone("kerb face", 48, (0.42, 0.42, 0.40), 0.30, True),
    Zone("soil", 72, (0.17, 0.12, 0.08), 0.31, True),
    Zone("driveway", 44, (0.28, 0.25, 0.23), 0.30, True),
    Zone("patch", 40, (0.11, 0.11, 0.115), 0.22, False),
)
(
    LAWN,
    ASPHALT,
    MARKING,
    PARKING,
    PARKING_STONES,
    SLABS,
    FOOTWAY,
    GRAVEL,
    KERB_FACE,
    SOIL,
    DRIVEWAY,
    PATCH,
) = range(len(ZONES))
RAISED = np.array([zone.raised for zone in ZONES])


class Ground:
    """Heights and zones of a street.

    Args:
        street: Street: its `nodes()` give where the grid lies and what is there.
        height: (rows, columns) float64, metres, of the nodes, without kerbs.
        zones: (S, D) uint8, rows of ZONES, over road coordinates: see `Street.bins`.
        kerb: metres that raised zones lie higher, of the nodes or everywhere the same.
    """

    def __init__(
        self,
        street: Street,
        height: np.ndarray,
        zones: np.ndarray,
        kerb: np.ndarray | float,
    ):
        self.street, self.zones = street, zones
        self._rows, self._columns = height.shape
        self._height, self._raised = _cells(height), _cells(height + kerb)
        self._road = np.concatenate([_cells(street.along), _cells(street.across)], axis=1)
        self._low = street.low

    def _cell(self, x, y):
        """Flat cell number and place in the cell of (N,) world coordinates; the border's cell
        beyond the border.
        """
        gx, gy = (
            np.clip(x - self._low[0], 0, self._columns - 1.001),
            np.clip(y - self._low[1], 0, self._rows - 1.001),
        )
        column, row = gx.astype(np.int32), gy.astype(np.int32)
        return (
            row * (self._columns - 1) + column,
            (gx - column).astype(np.float32),
            (gy - row).astype(np.float32),
        )

    def smooth(
        self, x: np.ndarray, y: np.ndarray, raised: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Height and its two slopes at (N,) world coordinates: of the road's level, or with
        `raised` of the footways' level, whatever zone is there.
        """
        cell, fx, fy = self._cell(x, y)
        c = np.take(self._raised if raised else self._height, cell, axis=0)
        return (
            c[:, 0] + c[:, 1] * fx + (c[:, 2] + c[:, 3] * fx) * fy,
            c[:, 1] + c[:, 3] * fy,
            c[:, 2] + c[:, 3] * fx,
        )

    def road_coordinates(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(along, across) in metres at (N,) world coordinates: the distance along the middle of
        the road, and to the left of it.
        """
        cell, fx, fy = self._cell(x, y)
        c = np.take(self._road, cell, axis=0)
        return tuple(
            c[:, k] + c[:, k + 1] * fx + (c[:, k + 2] + c[:, k + 3] * fx) * fy for k in (0, 4)
        )

    def zone(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N,) uint8: the zone at world coordinates."""
        row, column = self.street.bins(*self.road_coordinates(x, y))
        return self.zones[row, column]

    def height(self, x: float, y: float) -> float:
        """Height at one place, kerb included, metres."""
        x, y = np.array([x], np.float32), np.array([y], np.float32)
        return float(self.smooth(x, y, bool(RAISED[self.zone(x, y)[0]]))[0][0])

    def cast(self, rays: SpinRays | ImageRays, distance: np.ndarray, index: np.ndarray) -> None:
        """Write hits nearer than `distance` (R, C) into it, and GROUND - zone into `index`."""
        rows, columns = np.nonzero((rays.directions[2] < _STEEPEST) & (distance > 0))
        o = rays.origins(rows, columns).astype(np.float32)
        d = rays.directions[:, rows, columns]
        t, zone = self.hit(o, d, distance[rows, columns])
        found = np.isfinite(t)
        distance[rows[found], columns[found]] = t[found]
        index[rows[found], columns[found]] = GROUND - zone[found].astype(np.int32)

    def hit(self, o: np.ndarray, d: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First hits of rays.

        Args:
            o, d: (3, N) float32, world; d of unit length. reach: (N,) metres.

        Returns:
            t: (N,) float32, infinity where there is none. zone: (N,) uint8.
        """
        above = np.maximum(o[2] - float(self._raised[:, 0].max()) - 0.2, 0) / np.maximum(
            -d[2], 1e-3
        )
        t = self._descend(o, d, np.minimum(above, reach).astype(np.float32), True, reach)
        zone = self.zone(o[0] + t * d[0], o[1] + t * d[1])
        low = np.flatnonzero(~RAISED[zone])
        o, d = o[:, low], d[:, low]
        upper = t[low]
        place = o[0] + upper * d[0], o[1] + upper * d[1]
        kerb = self.smooth(*place, raised=True)[0] - self.smooth(*place)[0]
        start = upper + kerb / np.maximum(-d[2], 0.02)
        lower = self._descend(o, d, np.minimum(start, reach[low]), False, reach[low])
        below = self.zone(o[0] + lower * d[0], o[1] + lower * d[1])
        step = np.flatnonzero(RAISED[below] & (upper < lower))
        lower[step] = self._face(o[:, step], d[:, step], upper[step], lower[step])
        below[step] = KERB_FACE
        t[low], zone[low] = lower, below
        t[t >= reach] = np.inf
        return t, zone

    def _descend(self, o, d, t, raised, reach):
        """(N,) float32: where rays meet the smooth surface, the footways' where `raised`, searched
        from `t` on; `reach` where they do not.
        """
        t = t.copy()
        active = np.arange(len(t))
        above, under = np.zeros_like(t), reach.copy()  # where the ray is known to be so
        for step in range(_STEPS):
            oa, da, ta = (o[:, active], d[:, active], t[active]) if step else (o, d, t)
            z, slope_x, slope_y = self.smooth(oa[0] + ta * da[0], oa[1] + ta * da[1], raised)
            gap = oa[2] + ta * da[2] - z
            fall = slope_x * da[0] + slope_y * da[1] - da[2]
            move = np.clip(gap / np.maximum(fall, 0.004), -20, 6 + 0.35 * ta)
            below = gap < 0
            above[active] = low = np.where(below, above[active], ta)
            under[active] = high = np.where(below, ta, under[active])
            aim = np.clip(ta + move, 0, reach[active])
            # A bump throws the search back and forth: halve what is known to hold the surface.
            astray = (high < reach[active]) & ((aim < low) | (aim > high))
            t[active] = np.where(astray, (low + high) / 2, aim)
            active = active[(np.abs(gap) > _CLOSE) & ((t[active] < reach[active]) | (move < 0))]
            if not len(active):
                return t
        z, _, _ = self.smooth(
            o[0, active] + t[active] * d[0, active], o[1, active] + t[active] * d[1, active], raised
        )
        lost = np.abs(o[2, active] + t[active] * d[2, active] - z) > 20 * _CLOSE
        t[active[lost]] = reach[active[lost]]  # rays that skim a crest for ever
        return t

    def _face(self, o, d, before, after):
        """Halve the way between a place over low ground and one under raised ground until the
        kerb's face is found to a millimetre.
        """
        for _ in range(11):
            middle = (before + after) / 2
            inside = RAISED[self.zone(o[0] + middle * d[0], o[1] + middle * d[1])]
            before, after = np.where(inside, before, middle), np.where(inside, middle, after)
        return before

    def normals(self, points: np.ndarray, zone: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Unit normals (N, 3) float32 at hits (N, 3); a kerb's face looks back along the ray,
        level.
        """
        _, slope_x, slope_y = self.smooth(points[:, 0], points[:, 1])
        normals = np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=1)
        face = zone == KERB_FACE
        normals[face] = -directions[face] * np.array([1, 1, 0], np.float32)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-6)


def _cells(nodes):
    """(rows, columns) values at nodes -> (cells, 4) float32: value, slope in x, slope in y,
    twist, so that v = c0 + c1 fx + (c2 + c3 fx) fy.
    """
    a, b, c, e = nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, :-1], nodes[1:, 1:]
    return np.stack([a, b - a, c - a, e - b - c + a], axis=2).reshape(-1, 4).astype(np.float32)

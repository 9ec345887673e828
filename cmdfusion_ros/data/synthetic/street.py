"""The line of a street and its cross-section: road coordinates (along, across) and the map of
zones painted in them.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cmdfusion_ros.geometry.transforms import rigid, yaw_rotation

MARGIN = 120.0  # metres of street before the first and behind the last place of the vehicle
SIDE = 75.0  # metres from the middle of the road to the edge of the world
_BIN = 0.1  # metres, of the map of zones
_SAMPLE = 0.5


class Street:
    """A curved line through the plane; across is positive to the left.

    Args:
        rng: numpy Generator. length: metres that the vehicle drives; it starts at along = 0.
        bend: largest curvature, 1 / metres.
    """

    def __init__(self, rng: np.random.Generator, length: float, bend: float):
        self.first, self.last = -MARGIN, length + MARGIN
        self._s = np.arange(self.first, self.last + _SAMPLE, _SAMPLE)
        curvature = np.zeros_like(self._s)
        for wave in (90.0, 160.0, 310.0):
            curvature += rng.uniform(-1, 1) * np.sin(
                2 * np.pi * self._s / wave + rng.uniform(0, 2 * np.pi)
            )
        curvature *= bend / max(np.abs(curvature).max(), 1e-9)
        heading = np.cumsum(curvature) * _SAMPLE
        self._heading = heading - np.interp(0, self._s, heading)
        self._curvature = curvature
        place = (
            np.stack([np.cumsum(np.cos(self._heading)), np.cumsum(np.sin(self._heading))], axis=1)
            * _SAMPLE
        )
        self._place = place - [
            np.interp(0, self._s, place[:, 0]),
            np.interp(0, self._s, place[:, 1]),
        ]
        low, high = self._place.min(axis=0) - SIDE, self._place.max(axis=0) + SIDE
        self.low = np.floor(low)
        columns, rows = np.ceil(high - self.low).astype(int) + 1
        self.along, self.across = self._coordinates(rows, columns)

    def heading(self, along: ArrayLike) -> Any:
        """Radians, of the road's direction in the world."""
        return np.interp(along, self._s, self._heading)

    def curvature(self, along: float) -> float:
        """1 / metres, positive to the left."""
        return float(np.interp(along, self._s, self._curvature))

    def point(self, along: ArrayLike, across: ArrayLike) -> tuple[Any, Any]:
        """(x, y) in the world."""
        heading = self.heading(along)
        x, y = (
            np.interp(along, self._s, self._place[:, 0]),
            np.interp(along, self._s, self._place[:, 1]),
        )
        return x - across * np.sin(heading), y + across * np.cos(heading)

    def pose(self, along: float, across: float, yaw: float = 0.0, z: float = 0.0) -> np.ndarray:
        """world_from_body of a body that stands there, turned by `yaw` radians from the road's
        direction.
        """
        x, y = self.point(along, across)
        return rigid(yaw_rotation(self.heading(along) + yaw), (x, y, z))

    def _coordinates(self, rows, columns):
        """Road coordinates of the nodes of the metre grid: two (rows, columns) float64."""
        x, y = np.meshgrid(self.low[0] + np.arange(columns), self.low[1] + np.arange(rows))
        nodes = np.stack([x.reshape(-1), y.reshape(-1)], axis=1)
        coarse = self._place[::16]
        nearest = np.empty(len(nodes), np.int64)
        for start in range(
            0, len(nodes), 20000
        ):  # in pieces: the whole table of distances would not fit in the cache
            part = nodes[start : start + 20000]
            square = (part[:, :1] - coarse[:, 0]) ** 2 + (part[:, 1:] - coarse[:, 1]) ** 2
            nearest[start : start + 20000] = square.argmin(axis=1) * 16
        for reach in (8, 4, 2, 1):  # walk to the nearest sample
            around = np.clip(nearest[:, None] + np.array([-reach, 0, reach]), 0, len(self._s) - 1)
            square = ((self._place[around] - nodes[:, None]) ** 2).sum(axis=2)
            nearest = around[np.arange(len(nodes)), square.argmin(axis=1)]
        offset = nodes - self._place[nearest]
        heading = self._heading[nearest]
        ahead = offset[:, 0] * np.cos(heading) + offset[:, 1] * np.sin(heading)
        across = -offset[:, 0] * np.sin(heading) + offset[:, 1] * np.cos(heading)
        return (self._s[nearest] + ahead).reshape(rows, columns), across.reshape(rows, columns)

    def bins(self, along: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row and column (N,) of road coordinates in the map of zones; the border's beyond the
        border.
        """
        rows, columns = self.zone_shape
        row = np.clip((along - self.first) / _BIN, 0, rows - 1).astype(np.int32)
        return row, np.clip((across + SIDE) / _BIN, 0, columns - 1).astype(np.int32)

    @property
    def zone_shape(self) -> tuple[int, int]:
        """(rows, columns) of the map of zones."""
        return int((self.last - self.first) / _BIN), int(2 * SIDE / _BIN)

    def paint(
        self, zones: np.ndarray, zone: int, along: tuple[float, float], across: tuple[float, float]
    ) -> None:
        """Fill a rectangle of road coordinates, (from, to) each, with a zone; in place.

        Its borders go to the nearest ones between cells.
        """
        (top, bottom), _ = self.bins(np.array(along) + _BIN / 2, np.zeros(2))
        _, (left, right) = self.bins(np.zeros(2), np.array(across) + _BIN / 2)
        end_row = zones.shape[0] if along[1] >= self.last else bottom
        zones[top:end_row, left : zones.shape[1] if across[1] >= SIDE else right] = zone

    def patch(
        self, along: tuple[float, float], across: tuple[float, float]
    ) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """A rectangle of the map of zones, (from, to) each.

        Returns:
            (rows, columns): slices of the map. along (R, 1), across (1, C): metres, of the middles
            of its cells.
        """
        row, column = self.bins(np.array(along), np.array(across))
        rows, columns = slice(row[0], row[1] + 1), slice(column[0], column[1] + 1)
        middles = self.first + _BIN * (np.arange(rows.start, rows.stop) + 0.5)
        beside = _BIN * (np.arange(columns.start, columns.stop) + 0.5) - SIDE
        return rows, columns, middles[:, None], beside[None, :]

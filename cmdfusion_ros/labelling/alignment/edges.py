"""Edges of a cloud and of an image, which fall together where a camera sits as its transform
says.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from cmdfusion_ros.intensity import intensity_rank

_ROW_DEG = 0.25  # of elevation; rows of the grid that no beam meets are taken out
_LEAST_COLUMNS, _MOST_COLUMNS = 360, 1440  # around
_NEAREST, _FARTHEST = 2.0, 60.0  # metres
_JUMP, _JUMP_SHARE = 0.6, 0.08  # metres and share of the range between two surfaces
_SAME, _SAME_SHARE = 0.15, 0.02  # the same within one surface
_BRIGHTER = 0.3  # difference of intensity ranks
_MOST_KEPT = 15_000  # points of a kind
_REACH = 2  # columns to look for a neighbour
_STRONG, _AROUND = 1.7, 0.1  # times the usual gradient within a share of the image's height
_LEAST_GRADIENT = 6.0


@dataclass(frozen=True, eq=False)
class CloudEdges:
    """Rows of a cloud, int64.

    Attributes:
        upright: the near sides of upright steps of depth. bright: where the intensity changes
            within one surface. plain: neither.
    """

    upright: np.ndarray
    bright: np.ndarray
    plain: np.ndarray


def cloud_edges(points: np.ndarray, intensity: np.ndarray) -> CloudEdges:
    """Find edges along the turn of a LiDAR.

    Args:
        points: (N, 3) float, metres, the sensor at the origin. intensity: (N,) float32.
    """
    distance = np.linalg.norm(points, axis=1)
    near = np.flatnonzero((distance > _NEAREST) & (distance < _FARTHEST))
    if not len(near):
        return CloudEdges(near, near, near)
    grid = _grid(points[near].astype(np.float64), distance[near])  # (R, C) rows of `near`, or -1
    filled = grid >= 0
    depth = np.where(filled, distance[near][grid], np.nan)
    rank = np.where(filled, intensity_rank(intensity)[near][grid], np.nan)
    steps, bright = np.zeros(grid.shape, bool), np.zeros(grid.shape, bool)
    busy = np.zeros(grid.shape, bool)  # not plain
    for side in (1, -1):
        beside, beside_rank = _neighbours(depth, rank, side)
        with np.errstate(invalid="ignore"):
            jump = beside - depth > _JUMP + _JUMP_SHARE * depth
            same = np.abs(beside - depth) < _SAME + _SAME_SHARE * depth
            changed = same & _supported(np.abs(beside_rank - rank) > _BRIGHTER)
        steps |= _supported(jump)
        bright |= changed
        busy |= changed | ~same
    bright &= ~steps
    return CloudEdges(near[grid[steps]], near[grid[bright]], near[grid[filled & ~busy]])


def edge_points(
    points: np.ndarray, intensity: np.ndarray, origin: np.ndarray
) -> tuple[np.ndarray, CloudEdges]:
    """The (M, 3) points of a cloud by which an alignment is scored, and its edges among them: a
    small part of it, whatever its size.

    Args:
        points: (N, 3) float32, metres. intensity: (N,) float32. origin: (3,) where the LiDAR is.
    """
    found = cloud_edges(points - origin.astype(np.float32), intensity)
    kinds = [
        rows[:: len(rows) // _MOST_KEPT + 1] for rows in (found.upright, found.bright, found.plain)
    ]
    ends = np.cumsum([0, *map(len, kinds)])
    parts = [np.arange(start, end) for start, end in zip(ends[:-1], ends[1:], strict=True)]
    return points[np.concatenate(kinds)], CloudEdges(*parts)


def _grid(points: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(R, C) rows of `points`, elevation by azimuth, the nearest in each cell; -1 where none is."""
    azimuth = np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) + 0.5
    elevation = np.degrees(np.arcsin((points[:, 2] / distance).clip(-1, 1)))
    row = np.floor((elevation - elevation.min()) / _ROW_DEG).astype(np.int64)
    per_row = np.bincount(row)
    kept = per_row > 0.1 * np.quantile(per_row[per_row > 0], 0.9)
    renumbered = np.cumsum(kept) - 1
    chosen = np.flatnonzero(kept[row])
    row, azimuth, distance = renumbered[row[chosen]], azimuth[chosen], distance[chosen]
    num_rows, columns = int(kept.sum()), _columns(row, azimuth)
    column = np.minimum((azimuth * columns).astype(np.int64), columns - 1)
    cell = row * columns + column
    grid = np.full(num_rows * columns, -1, np.int64)
    order = np.argsort(-distance, kind="stable")  # the nearest is written last
    grid[cell[order]] = chosen[order]
    return grid.reshape(num_rows, columns)


def _columns(row: np.ndarray, azimuth: np.ndarray) -> int:
    """How many columns go around: one for each firing of the LiDAR, as the gaps in its rows say."""
    order = np.lexsort((azimuth, row))
    gaps = np.diff(azimuth[order])[np.diff(row[order]) == 0]
    gaps = gaps[gaps > 0.2 / _MOST_COLUMNS]
    if not len(gaps):
        return _LEAST_COLUMNS
    return int(np.clip(1.0 / np.median(gaps), _LEAST_COLUMNS, _MOST_COLUMNS))


def _neighbours(depth: np.ndarray, rank: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Depth and rank of the next filled cell on one side, NaN beyond `_REACH` columns."""
    found, found_rank = np.full_like(depth, np.nan), np.full_like(rank, np.nan)
    for step in range(_REACH, 0, -1):
        moved = np.roll(depth, -side * step, axis=1)
        there = np.isfinite(moved)
        found[there] = moved[there]
        found_rank[there] = np.roll(rank, -side * step, axis=1)[there]
    return found, found_rank


def _supported(edge: np.ndarray) -> np.ndarray:
    """Those of an edge that goes on upright: in the rows above or below, at most a column aside."""
    wide = edge | np.roll(edge, 1, axis=1) | np.roll(edge, -1, axis=1)
    above = np.zeros_like(edge)
    below = np.zeros_like(edge)
    above[1:], below[:-1] = wide[:-1], wide[1:]
    further = np.zeros_like(edge)
    further[2:] |= wide[:-2] & above[2:]
    further[:-2] |= wide[2:] & below[:-2]
    return edge & ((above & below) | further)


def image_edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in pixels to the nearest strong edge of an image: (H, W) float32 to upright ones,
    and to any. (H, W, 3) uint8 RGB.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=0.25)
    along = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=0.25)
    size = np.hypot(across, along)
    usual = cv2.GaussianBlur(size, (0, 0), _AROUND * len(grey))
    strong = size > np.maximum(_STRONG * usual, _LEAST_GRADIENT)
    upright = np.abs(across) > np.abs(along)
    ridge_x = (size >= np.roll(size, 1, 1)) & (size >= np.roll(size, -1, 1))
    ridge_y = (size >= np.roll(size, 1, 0)) & (size >= np.roll(size, -1, 0))
    lines = strong & upright & ridge_x
    every = lines | (strong & ~upright & ridge_y)
    return _distance(lines), _distance(every)


def _distance(edges: np.ndarray) -> np.ndarray:
    """(H, W) float32 pixels to the nearest True; far everywhere where there is none."""
    if not edges.any():
        return np.full(edges.shape, 1e6, np.float32)
    return cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, 5)

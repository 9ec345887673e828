"""Which points a camera really sees: LiDAR and camera sit apart, so behind an edge the LiDAR
measures points that the camera does not see, and their pixels show what hides them."""

import cv2
import numpy as np

_CELL = 2  # pixels: in larger ones a far road hides itself, as one holds several metres of it
_LONGEST_REACH = 30  # cells
_NEARER = 1.1  # times: what hides is nearer by this and by
_NEARER_METRES = 0.5


def hidden_points(
    pixels: np.ndarray, depths: np.ndarray, image_size: tuple[int, int]
) -> np.ndarray:
    """Which points something nearer hides, seen in the cloud itself.

    A point is hidden where nearer points lie on both sides of it, left and right, or above and
    below, no further off than twice the usual gap between points. One side alone is no sign: on
    a road that is looked along, everything below a point in the image is nearer.

    Args:
        pixels: (P, 2) float, (u, v) of points in the image.
        depths: (P,) float, metres along the optical axis.
        image_size: (width, height) in pixels.

    Returns:
        (P,) bool.
    """
    if not len(pixels):
        return np.zeros(0, bool)
    width, height = (-(-size // _CELL) for size in image_size)
    columns = np.clip(((pixels[:, 0] + 0.5) / _CELL).astype(np.int64), 0, width - 1)
    rows = np.clip(((pixels[:, 1] + 0.5) / _CELL).astype(np.int64), 0, height - 1)
    nearest: np.ndarray = np.full(height * width, np.inf, np.float32)
    np.minimum.at(nearest, rows * width + columns, depths.astype(np.float32))
    nearest = nearest.reshape(height, width)
    filled = np.isfinite(nearest)
    across = _side_minima(nearest, _reach(filled))
    down = _side_minima(np.ascontiguousarray(nearest.T), _reach(filled.T)).T
    occluder = np.minimum(across, down)[rows, columns]
    return depths > occluder * _NEARER + _NEARER_METRES


def _reach(filled: np.ndarray) -> int:
    """Cells to look along a row: twice the median gap between filled cells of one row."""
    rows, columns = np.nonzero(filled)
    gaps = np.diff(columns)[np.diff(rows) == 0]
    return int(np.clip(2 * np.median(gaps), 2, _LONGEST_REACH)) if len(gaps) else 2


def _side_minima(nearest: np.ndarray, reach: int) -> np.ndarray:
    """For each cell the further of the nearest depths within `reach` cells left and right of it."""
    kernel = np.ones((1, reach), np.uint8)
    padded = cv2.copyMakeBorder(nearest, 0, 0, reach, reach, cv2.BORDER_CONSTANT, value=np.inf)
    # a window that starts one cell to the left and ends `reach` to the left, and its mirror image
    minima = cv2.erode(padded, kernel, anchor=(0, 0), borderValue=np.inf)
    count = nearest.shape[1]
    left, right = minima[:, :count], minima[:, reach + 1 : reach + 1 + count]
    return np.maximum(left, right)

"""Labels -> boxes around things: what the node shows as markers.

Points of one class that lie close together in the bird's-eye view are one thing. That is enough to
look at; it is no detector: two cars that touch are one box, and a car seen from one side is as wide
as what was seen of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# metres; points in cells that touch, corners included, are one thing: returns on a car at 60 m are
# 0.2 to 0.4 m apart
CELL = 0.4
MIN_POINTS = 8  # fewer are noise more often than a thing
# metres; of each slice of a thing only the outermost points decide how its box is turned
SLICE = 0.1
# degrees; a rectangle is first turned in coarse steps, then around the best one in fine steps
COARSE_STEP, FINE_STEP = 5, 1
FIELD = 1 << 20  # cells along x or y that a packed key has room for


@dataclass(frozen=True)
class Box:
    """An upright box around one thing.

    Attributes:
        label: its class.
        centre: (x, y, z) in metres, in the frame of the points.
        size: (length, width, height) in metres; length is the longer side.
        yaw: angle from x to the length, radians, in (-pi/2, pi/2]; which end is the front is not
            known.
        num_points: points inside.
    """

    label: int
    centre: tuple
    size: tuple
    yaw: float
    num_points: int


def find_instances(
    points: np.ndarray, labels: np.ndarray, thing_labels: Iterable[int]
) -> list[Box]:
    """Put a box around every group of points of one thing class.

    Args:
        points: (N, 3) float32, metres, z up, within 200 km.
        labels: (N,) uint8.
        thing_labels: labels of the classes that get boxes; a ClassMap has them.

    Returns:
        list of Box, largest number of points first; empty where there is nothing.
    """
    is_thing = np.zeros(256, bool)
    is_thing[list(thing_labels)] = True
    rows = np.flatnonzero(is_thing[labels])
    if not len(rows):
        return []
    points, labels = points[rows], labels[rows]
    group = _group(points, labels)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.diff(starts, append=len(order))
    kept = np.repeat(counts >= MIN_POINTS, counts)
    order, counts = order[kept], counts[counts >= MIN_POINTS]
    if not len(order):
        return []
    boxes = _fit_boxes(points[order], labels[order], counts)
    return sorted(boxes, key=lambda box: -box.num_points)


def _group(points, labels):
    """(N,) numbers, equal for points of one label whose cells hang together."""
    x, y = np.floor(points[:, :2].T / CELL).astype(np.int64) + FIELD // 2
    cells, cell_of_point = np.unique(
        (labels.astype(np.int64) * FIELD + x) * FIELD + y, return_inverse=True
    )
    return _connected(cells)[cell_of_point.reshape(-1)]


def _connected(cells):
    """(M,) sorted packed cells -> (M,) for each the row of the first cell it hangs together
    with.
    """
    first, second = [], []
    # half of the eight neighbours; the others follow by symmetry
    for step in (1, FIELD - 1, FIELD, FIELD + 1):
        place = np.searchsorted(cells, cells + step)
        found = np.flatnonzero(place < len(cells))
        found = found[cells[place[found]] == cells[found] + step]
        first.append(found)
        second.append(place[found])
    first, second = np.concatenate(first), np.concatenate(second)
    root = np.arange(len(cells))
    while True:
        smaller = np.minimum(root[first], root[second])
        hooked = root.copy()
        np.minimum.at(hooked, root[first], smaller)  # hang the larger root under the smaller one
        np.minimum.at(hooked, root[second], smaller)
        while not np.array_equal(hooked, hooked[hooked]):  # shorten the paths to their ends
            hooked = hooked[hooked]
        if np.array_equal(hooked, root):
            return root
        root = hooked


def _fit_boxes(points, labels, counts):
    """Boxes of groups of points that lie one after the other, `counts` points each; each turned
    so that its rectangle is the smallest.
    """
    starts = np.cumsum(counts) - counts
    middle = np.add.reduceat(points, starts) / counts[:, None]
    local = points - np.repeat(middle, counts, axis=0)  # near zero, where float32 is fine
    rim, rim_counts = _rim(local, counts)
    angle = _smallest(rim, rim_counts, np.arange(0, 90, COARSE_STEP)[None])
    around = angle[:, None] + np.arange(FINE_STEP - COARSE_STEP, COARSE_STEP, FINE_STEP)
    angle = np.radians(_smallest(rim, rim_counts, around))
    low, high = _extent(local, counts, angle[:, None])
    low, high = low[:, :, 0], high[:, :, 0]  # (2, G): along, across
    size, centre = high - low, (low + high) / 2
    bottom, top = (
        np.minimum.reduceat(points[:, 2], starts),
        np.maximum.reduceat(points[:, 2], starts),
    )
    boxes = []
    for g in range(len(counts)):
        c, s = np.cos(angle[g]), np.sin(angle[g])
        x, y = middle[g, :2] + (
            c * centre[0, g] - s * centre[1, g],
            s * centre[0, g] + c * centre[1, g],
        )
        length, width, yaw = float(size[0, g]), float(size[1, g]), float(angle[g])
        if width > length:
            length, width, yaw = width, length, yaw + np.pi / 2
        yaw = float(np.pi / 2 - (np.pi / 2 - yaw) % np.pi)  # into (-pi/2, pi/2]
        centre_z, height = (float(bottom[g]) + float(top[g])) / 2, float(top[g] - bottom[g])
        boxes.append(
            Box(
                int(labels[starts[g]]),
                (float(x), float(y), centre_z),
                (length, width, height),
                yaw,
                int(counts[g]),
            )
        )
    return boxes


def _rim(local, counts):
    """The lowest and the highest point along y in every slice along x of every group, and how
    many that are of each group: (R, 3), (G,).
    """
    group = np.repeat(np.arange(len(counts)), counts)
    slices = np.floor(local[:, 0] / SLICE).astype(np.int64) + FIELD // 2
    height = np.rint((local[:, 1] - local[:, 1].min()) * 1000).astype(np.int64)  # millimetres
    key = (group * FIELD + slices) * FIELD + np.minimum(height, FIELD - 1)
    order = np.argsort(key)
    key = key[order] // FIELD
    change = key[1:] != key[:-1]
    outermost = order[np.concatenate([[True], change]) | np.concatenate([change, [True]])]
    return local[outermost], np.bincount(group[outermost], minlength=len(counts))


def _smallest(local, counts, degrees):
    """For each group the angle, of those offered ((1 or G, A) degrees), at which its rectangle
    has the smallest area: (G,). Of equal ones the first.
    """
    degrees = np.broadcast_to(degrees, (len(counts), degrees.shape[1]))
    low, high = _extent(local, counts, np.radians(degrees))
    best = np.prod(high - low, axis=0).argmin(1)
    return np.take_along_axis(degrees, best[:, None], 1)[:, 0]


def _extent(local, counts, angle):
    """Lowest and highest coordinates of each group along and across each of its angles ((G, A)
    radians): two (2, G, A).
    """
    starts = np.cumsum(counts) - counts
    # (N, A)
    cosine, sine = (
        np.repeat(f(angle).astype(np.float32), counts, axis=0) for f in (np.cos, np.sin)
    )
    x, y = local[:, :1], local[:, 1:2]
    turned = [x * cosine + y * sine, y * cosine - x * sine]
    return np.stack([np.minimum.reduceat(t, starts) for t in turned]), np.stack(
        [np.maximum.reduceat(t, starts) for t in turned]
    )

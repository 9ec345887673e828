"""Where rays meet a unit shape, in closed form.

Every function takes rays in the shape's local coordinates, then `shape`, `size` and `limit` of the
solid, of which it names those that it has a use for. `o` and `d` are triples of float32 arrays that
broadcast to one shape. `d` is not of unit length: it is the unit ray of the world taken to local
coordinates, so that t is metres in the world. Returned t is infinity for a miss. A ray that starts
inside a shape misses it. `limit` (...): hits beyond it need not be found.
"""

from typing import Any

import numpy as np

from cmdfusion_ros.data.synthetic.cells import hash_cells
from cmdfusion_ros.data.synthetic.solids import BALL, BOX, CROWN, GRILLE, TUBE, WEDGE

NEAR = 0.02  # metres; nearer hits are the sensor's own housing
_TINY = np.float32(
    1e-12
)  # added to components of directions: keeps 1 / 0 away and changes nothing else in float32
_SHELLS = (
    (-1, 1.0, 0.55),
    (-1, 0.86, 1.0),
    (-1, 0.64, 1.5),
    (1, 0.86, 1.0),
)  # of a crown: way in or out, radius, how much denser than its nominal density

# Of a crown: size of a tuft of leaves as a share of the size of patches that are thick or thin.
_BOUGH = np.float32(0.22)


def hit_box(o: Any, d: Any, *unused: Any) -> np.ndarray:
    """t (...) of the entry into the cube [-1, 1]^3."""
    near, far = -np.inf, np.inf
    for axis in range(3):
        inverse = 1 / (d[axis] + _TINY)
        middle, reach = -o[axis] * inverse, np.abs(inverse)
        near, far = np.maximum(near, middle - reach), np.minimum(far, middle + reach)
    return np.where((near <= far) & (near > NEAR), near, np.inf).astype(np.float32, copy=False)


def wedge_planes(shape: np.ndarray) -> np.ndarray:
    """(6, 4) float32 rows (n, c) with the shape inside n . p <= c; order +x, -x, +y, -y, +z, -z."""
    front, rear, sides = (float(value) / 2 for value in shape[:3])
    return np.array(
        [
            [1, 0, front, 1 - front],
            [-1, 0, rear, 1 - rear],
            [0, 1, sides, 1 - sides],
            [0, -1, sides, 1 - sides],
            [0, 0, 1, 1],
            [0, 0, -1, 1],
        ],
        np.float32,
    )


def hit_wedge(o: Any, d: Any, shape: np.ndarray, *unused: Any) -> np.ndarray:
    """As `hit_box`, between the six planes of a WEDGE."""
    near, far = -np.inf, np.inf
    for nx, ny, nz, c in wedge_planes(shape):
        slope = nx * d[0] + ny * d[1] + nz * d[2] + _TINY
        start = nx * o[0] + ny * o[1] + nz * o[2]
        t = (c - start) / slope
        near, far = (
            np.where(slope < 0, np.maximum(near, t), near),
            np.where(slope > 0, np.minimum(far, t), far),
        )
    return np.where((near <= far) & (near > NEAR), near, np.inf).astype(np.float32, copy=False)


def _nearest_approach(o, d, axes):
    """(t of the point nearest to the origin, |d|^2, coordinates there) over some axes: working
    from there keeps float32 exact for far, thin things.
    """
    square = sum(d[axis] * d[axis] for axis in axes) + _TINY
    t = -sum(o[axis] * d[axis] for axis in axes) / square
    return t, square, [o[axis] + t * d[axis] for axis in range(3)]


def hit_ball(o: Any, d: Any, *unused: Any) -> np.ndarray:
    """t of the entry into the unit ball."""
    middle, square, p = _nearest_approach(o, d, (0, 1, 2))
    room = 1 - (p[0] * p[0] + p[1] * p[1] + p[2] * p[2])
    t = middle - np.sqrt(np.maximum(room, 0) / square)
    return np.where((room > 0) & (t > NEAR), t, np.inf).astype(np.float32, copy=False)


def hit_tube(o: Any, d: Any, shape: np.ndarray, *unused: Any) -> np.ndarray:
    """t of the entry into the tube around z, through its side or an end; ends may have a hole
    (what is behind it is then seen).
    """
    taper, hole = float(shape[0]), float(shape[1])
    mean, slope = (1 + taper) / 2, (taper - 1) / 2  # radius = mean + slope * z
    middle, _, p = _nearest_approach(o, d, (0, 1))
    radius = mean + slope * p[2]
    a = d[0] * d[0] + d[1] * d[1] - slope * slope * d[2] * d[2] + _TINY
    b = -slope * radius * d[2]
    room = b * b - a * (p[0] * p[0] + p[1] * p[1] - radius * radius)
    t = (
        middle + (-b - np.sqrt(np.maximum(room, 0))) / a
    )  # of the two roots the one that enters, whatever the sign of a
    z = o[2] + t * d[2]
    side = np.where((room > 0) & (np.abs(z) <= 1) & (t > NEAR), t, np.inf)
    end = -np.sign(d[2])
    t = (end - o[2]) / (d[2] + _TINY)
    x, y = o[0] + t * d[0], o[1] + t * d[1]
    limit = mean + slope * end
    away = x * x + y * y
    cap = np.where((away <= limit * limit) & (away >= hole * hole) & (t > NEAR), t, np.inf)
    return np.minimum(side, cap).astype(np.float32, copy=False)


def hit_crown(
    o: Any, d: Any, shape: np.ndarray, size: np.ndarray, limit: np.ndarray | None = None
) -> np.ndarray:
    """t of the first leaf: on the outer, then the inner shells on the way in, then on the way
    out. Which places of a shell have a leaf is hashed.
    """
    middle, square, p = _nearest_approach(o, d, (0, 1, 2))
    away = p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
    found = np.full(away.shape, np.inf, np.float32)
    meets = away < 1
    if limit is not None:
        meets &= middle - np.sqrt(np.maximum(1 - away, 0) / square) < limit
    rows = np.flatnonzero(meets)
    if not len(rows):
        return found
    leaves, clump, salt = float(shape[0]), float(shape[1]), int(shape[2])
    middle, square, away = (_pick(values, found.shape, rows) for values in (middle, square, away))
    cells = [size[axis] / clump for axis in range(3)]
    d = [_pick(d[axis], found.shape, rows) * cells[axis] for axis in range(3)]
    p = [_pick(p[axis], found.shape, rows) * cells[axis] for axis in range(3)]
    for number, (sign, radius, density) in enumerate(_SHELLS):
        inside = np.flatnonzero(away < radius * radius)
        t = sign * np.sqrt((radius * radius - away[inside]) / square[inside])
        x, y, z = (p[axis][inside] + t * d[axis][inside] for axis in range(3))
        tuft = hash_cells(x, y, z, salt + 7 * number)
        bough = hash_cells(x * _BOUGH, y * _BOUGH, z * _BOUGH, salt + 99)
        t += middle[inside]
        leaf = (tuft < leaves * density * (0.25 + 1.5 * bough)) & (t > NEAR)
        found.reshape(-1)[rows[inside[leaf]]] = t[leaf]
        if leaf.any():
            rest = np.ones(len(rows), bool)
            rest[inside[leaf]] = False
            rows, middle, square, away = rows[rest], middle[rest], square[rest], away[rest]
            d, p = [values[rest] for values in d], [values[rest] for values in p]
    return found


def _pick(values, shape, rows):
    """The flat elements `rows` of an array that broadcasts to `shape`."""
    if np.shape(values) != shape:
        values = np.broadcast_to(values, shape)
    return values.reshape(-1)[rows]


def hit_grille(o: Any, d: Any, shape: np.ndarray, size: np.ndarray, *unused: Any) -> np.ndarray:
    """As `hit_box`, where there is a slat or a rail; holes let the ray through."""
    t = hit_box(o, d)
    period, solid, rail = (float(value) for value in shape[:3])
    with np.errstate(invalid="ignore"):
        x, z = (o[0] + t * d[0]) * size[0], (o[2] + t * d[2]) * size[2]
        there = np.mod(x / period, 1) < solid
        if rail:
            there |= (size[2] - np.abs(z) < rail) | (np.abs(z) < rail / 2)
    return np.where(there, t, np.float32(np.inf))


HIT = {
    BOX: hit_box,
    WEDGE: hit_wedge,
    BALL: hit_ball,
    TUBE: hit_tube,
    CROWN: hit_crown,
    GRILLE: hit_grille,
}


def local_normals(kind: np.ndarray, shape: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Normals (N, 3) at points (N, 3) on unit shapes, in local coordinates and not of unit
    length. kind (N,), shape (N, 4): of each point's part.
    """
    normals = p.copy()  # right for balls and crowns
    cube = (kind == BOX) | (kind == GRILLE)
    if cube.any():
        normals[cube] = _largest_axis(p[cube])
    rows = np.flatnonzero(kind == WEDGE)
    if len(rows):
        q, s = p[rows], shape[rows] / 2
        outer = [q[:, 0] + s[:, 0] * (q[:, 2] + 1), -q[:, 0] + s[:, 1] * (q[:, 2] + 1)]
        outer += [
            q[:, 1] + s[:, 2] * (q[:, 2] + 1),
            -q[:, 1] + s[:, 2] * (q[:, 2] + 1),
            q[:, 2],
            -q[:, 2],
        ]
        face = np.argmax(np.stack(outer, axis=1), axis=1)
        flat = np.array(
            [[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32
        )[face]
        lean = np.where(face == 0, s[:, 0], np.where(face == 1, s[:, 1], s[:, 2]))
        flat[:, 2] += np.where(face < 4, lean, 0)
        normals[rows] = flat
    rows = np.flatnonzero(kind == TUBE)
    if len(rows):
        q, slope = p[rows], (shape[rows, 0] - 1) / 2
        radius = (1 + shape[rows, 0]) / 2 + slope * q[:, 2]
        end = np.abs(q[:, 2]) - 1 > np.hypot(q[:, 0], q[:, 1]) - radius
        side = np.stack([q[:, 0], q[:, 1], -slope * radius], axis=1)
        normals[rows] = np.where(
            end[:, None], np.stack([0 * radius, 0 * radius, np.sign(q[:, 2])], axis=1), side
        )
    return normals


def _largest_axis(p):
    axis = np.abs(p).argmax(axis=1)
    rows = np.arange(len(p))
    normals = np.zeros_like(p)
    normals[rows, axis] = np.sign(p[rows, axis])
    return normals

"""Where rays meet a unit shape, in closed form.

Every function takes rays in the shape's local coordinates: `o` and `d` are triples of float32 arrays that broadcast to one shape. `d` is not of unit
length: it is the unit ray of the world taken to local coordinates, so that t is metres in the world. Returned t is infinity for a miss. A ray that
starts inside a shape misses it.
"""

import numpy as np

from cmdfusion_ros.data.synthetic.cells import hash_cells
from cmdfusion_ros.data.synthetic.solids import BALL, BOX, CROWN, GRILLE, TUBE, WEDGE

NEAR = 0.02  # metres; nearer hits are the sensor's own housing
_TINY = np.float32(1e-12)  # added to components of directions: keeps 1 / 0 away and changes nothing else in float32
_SHELLS = ((1.0, 0.8), (0.86, 0.9), (0.68, 1.1), (0.45, 1.5))  # of a crown: radius, and how much denser than its nominal density


def hit_box(o, d, shape=None, size=None):
    """t (...) of the entry into the cube [-1, 1]^3."""
    near, far = -np.inf, np.inf
    for axis in range(3):
        inverse = 1 / (d[axis] + _TINY)
        middle, reach = -o[axis] * inverse, np.abs(inverse)
        near, far = np.maximum(near, middle - reach), np.minimum(far, middle + reach)
    return np.where((near <= far) & (near > NEAR), near, np.inf).astype(np.float32, copy=False)


def wedge_planes(shape):
    """(6, 4) float32 rows (n, c) with the shape inside n . p <= c; order +x, -x, +y, -y, +z, -z."""
    front, rear, sides = (float(value) / 2 for value in shape[:3])
    return np.array(
        [[1, 0, front, 1 - front], [-1, 0, rear, 1 - rear], [0, 1, sides, 1 - sides], [0, -1, sides, 1 - sides], [0, 0, 1, 1], [0, 0, -1, 1]], np.float32
    )


def hit_wedge(o, d, shape, size=None):
    """As `hit_box`, between the six planes of a WEDGE."""
    near, far = -np.inf, np.inf
    for nx, ny, nz, c in wedge_planes(shape):
        slope = nx * d[0] + ny * d[1] + nz * d[2] + _TINY
        start = nx * o[0] + ny * o[1] + nz * o[2]
        t = (c - start) / slope
        near, far = np.where(slope < 0, np.maximum(near, t), near), np.where(slope > 0, np.minimum(far, t), far)
    return np.where((near <= far) & (near > NEAR), near, np.inf).astype(np.float32, copy=False)


def _nearest_approach(o, d, axes):
    """(t of the point nearest to the origin, |d|^2, coordinates there) over some axes: working from there keeps float32 exact for far, thin things."""
    square = sum(d[axis] * d[axis] for axis in axes) + _TINY
    t = -sum(o[axis] * d[axis] for axis in axes) / square
    return t, square, [o[axis] + t * d[axis] for axis in range(3)]


def hit_ball(o, d, shape=None, size=None):
    """t of the entry into the unit ball."""
    middle, square, p = _nearest_approach(o, d, (0, 1, 2))
    room = 1 - (p[0] * p[0] + p[1] * p[1] + p[2] * p[2])
    t = middle - np.sqrt(np.maximum(room, 0) / square)
    return np.where((room > 0) & (t > NEAR), t, np.inf).astype(np.float32, copy=False)


def hit_tube(o, d, shape, size=None):
    """t of the entry into the tube around z, through its side or an end; ends may have a hole (what is behind it is then seen)."""
    taper, hole = float(shape[0]), float(shape[1])
    mean, slope = (1 + taper) / 2, (taper - 1) / 2  # radius = mean + slope * z
    middle, _, p = _nearest_approach(o, d, (0, 1))
    radius = mean + slope * p[2]
    a = d[0] * d[0] + d[1] * d[1] - slope * slope * d[2] * d[2] + _TINY
    b = -slope * radius * d[2]
    room = b * b - a * (p[0] * p[0] + p[1] * p[1] - radius * radius)
    t = middle + (-b - np.sqrt(np.maximum(room, 0))) / a
    z = o[2] + t * d[2]
    side = np.where((room > 0) & (np.abs(z) <= 1) & (t > NEAR) & (a > 0), t, np.inf)
    end = -np.sign(d[2])
    t = (end - o[2]) / (d[2] + _TINY)
    x, y = o[0] + t * d[0], o[1] + t * d[1]
    limit = mean + slope * end
    away = x * x + y * y
    cap = np.where((away <= limit * limit) & (away >= hole * hole) & (t > NEAR), t, np.inf)
    return np.minimum(side, cap).astype(np.float32, copy=False)


def hit_crown(o, d, shape, size):
    """t of the first leaf: the outer, then the inner shells on the way in, then the outer ones on the way out. Which places of a shell have a leaf is hashed."""
    middle, square, p = _nearest_approach(o, d, (0, 1, 2))
    away = p[0] * p[0] + p[1] * p[1] + p[2] * p[2]
    found = np.full(away.shape, np.inf, np.float32)
    rows = np.flatnonzero(away < 1)
    if not len(rows):
        return found
    flat = [np.broadcast_to(component, away.shape).reshape(-1)[rows] for component in (*d, *p, middle, square, away)]
    d, p, (middle, square, away) = flat[:3], flat[3:6], flat[6:]
    best = np.full(len(rows), np.inf, np.float32)
    leaves, clump, salt = float(shape[0]), float(shape[1]), int(shape[2])
    for sign, shells in ((-1, _SHELLS), (1, _SHELLS[2::-1])):
        for number, (radius, density) in enumerate(shells):
            open_rows = np.flatnonzero((best == np.inf) & (away < radius * radius))
            half = np.sqrt((radius * radius - away[open_rows]) / square[open_rows])
            t = sign * half
            x, y, z = ((p[axis][open_rows] + t * d[axis][open_rows]) * (size[axis] / clump) for axis in range(3))
            tuft = hash_cells(x, y, z, salt + 7 * number + (sign > 0))
            bough = hash_cells(x * 0.3, y * 0.3, z * 0.3, salt + 99)
            leaf = tuft < leaves * density * (0.55 + 0.9 * bough)
            t = t + middle[open_rows]
            leaf &= t > NEAR
            best[open_rows[leaf]] = t[leaf]
    found.reshape(-1)[rows] = best
    return found


def hit_grille(o, d, shape, size):
    """As `hit_box`, where there is a slat or a rail; holes let the ray through."""
    t = hit_box(o, d)
    period, solid, rail = (float(value) for value in shape[:3])
    with np.errstate(invalid="ignore"):
        x, z = (o[0] + t * d[0]) * size[0], (o[2] + t * d[2]) * size[2]
        there = np.mod(x / period, 1) < solid
        if rail:
            there |= (size[2] - np.abs(z) < rail) | (np.abs(z) < rail / 2)
    return np.where(there, t, np.float32(np.inf))


HIT = {BOX: hit_box, WEDGE: hit_wedge, BALL: hit_ball, TUBE: hit_tube, CROWN: hit_crown, GRILLE: hit_grille}


def local_normals(kind, shape, p):
    """Normals (N, 3) at points (N, 3) on unit shapes, in local coordinates and not of unit length. kind (N,), shape (N, 4): of each point's part."""
    normals = p.copy()  # right for balls and crowns
    cube = (kind == BOX) | (kind == GRILLE)
    if cube.any():
        normals[cube] = _largest_axis(p[cube])
    rows = np.flatnonzero(kind == WEDGE)
    if len(rows):
        q, s = p[rows], shape[rows] / 2
        outer = [q[:, 0] + s[:, 0] * (q[:, 2] + 1), -q[:, 0] + s[:, 1] * (q[:, 2] + 1)]
        outer += [q[:, 1] + s[:, 2] * (q[:, 2] + 1), -q[:, 1] + s[:, 2] * (q[:, 2] + 1), q[:, 2], -q[:, 2]]
        face = np.argmax(np.stack(outer, axis=1), axis=1)
        flat = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float32)[face]
        lean = np.where(face == 0, s[:, 0], np.where(face == 1, s[:, 1], s[:, 2]))
        flat[:, 2] += np.where(face < 4, lean, 0)
        normals[rows] = flat
    rows = np.flatnonzero(kind == TUBE)
    if len(rows):
        q, slope = p[rows], (shape[rows, 0] - 1) / 2
        radius = (1 + shape[rows, 0]) / 2 + slope * q[:, 2]
        end = np.abs(q[:, 2]) - 1 > np.hypot(q[:, 0], q[:, 1]) - radius
        side = np.stack([q[:, 0], q[:, 1], -slope * radius], axis=1)
        normals[rows] = np.where(end[:, None], np.stack([0 * radius, 0 * radius, np.sign(q[:, 2])], axis=1), side)
    return normals


def _largest_axis(p):
    axis = np.abs(p).argmax(axis=1)
    rows = np.arange(len(p))
    normals = np.zeros_like(p)
    normals[rows, axis] = np.sign(p[rows, axis])
    return normals

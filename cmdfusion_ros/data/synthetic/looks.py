"""Patterns on surfaces: windows, leaves, number plates, paving. The same for every camera and
for the LiDAR, as they depend on the place alone.
"""

import numpy as np

from cmdfusion_ros.data.synthetic import ground as zones
from cmdfusion_ros.data.synthetic import solids as looks
from cmdfusion_ros.data.synthetic.cells import hash_cells, smooth_noise
from cmdfusion_ros.data.synthetic.ground import Ground
from cmdfusion_ros.data.synthetic.solids import Solids
from cmdfusion_ros.data.synthetic.surfaces import Surfaces

_STOREY = 2.9  # metres
_GLASS = np.array((0.025, 0.03, 0.035), np.float32)
_WHITE, _BLACK = np.float32(0.62), np.float32(0.03)


def paint_surfaces(
    surfaces: Surfaces, solids: Solids, ground: Ground
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Albedo and gloss of every hit with its pattern.

    Returns:
        albedo: (N, 3) float32. gloss: (N,) float32; what has 0.6 and more behaves as glass. glow:
            (N,) float32, windows that may be lit at night.
    """
    albedo = surfaces.paint(solids)
    row = np.maximum(surfaces.part, 0)
    gloss = np.where(surfaces.on_ground, np.float32(0), solids.gloss[row])
    glow = np.zeros_like(gloss)
    look = np.where(surfaces.on_ground, 255, solids.look[row])
    for code, pattern in _PATTERNS.items():
        at = np.flatnonzero(look == code)
        if len(at):
            pattern(
                albedo,
                gloss,
                glow,
                at,
                surfaces.local[at],
                surfaces.face[at],
                solids.size[surfaces.part[at]],
                surfaces.part[at],
            )
    at = np.flatnonzero(surfaces.on_ground)
    if len(at) and ground is not None:
        albedo[at] = _ground(
            albedo[at], surfaces.zone[at], surfaces.points[at], surfaces.distance[at], ground
        )
    return albedo, gloss, glow


def _plain(albedo, gloss, glow, at, q, face, size, part):
    albedo[at] *= (0.9 + 0.2 * hash_cells(q[:, 0] * 9, q[:, 1] * 9, q[:, 2] * 9))[:, None]


def _facade(albedo, gloss, glow, at, q, face, size, part):
    sideways = np.abs(face[:, 0]) > np.abs(face[:, 1])
    along = np.where(sideways, q[:, 1], q[:, 0])
    half = np.where(sideways, size[:, 1], size[:, 0])
    up = q[:, 2] + size[:, 2] - 2.0  # above the ground: walls reach 2 m into it
    style = hash_cells(part, part * 0, salt=3)
    count = np.maximum(np.round(2 * half / (2.1 + 1.4 * style)), 1)
    u = (along + half) / (2 * half) * count
    column, storey = np.floor(u), np.floor(up / _STOREY)
    fu, fv = (u - column) * (2 * half / count), up - storey * _STOREY
    middle = half / count
    chance = hash_cells(column + 31 * sideways, storey, part, salt=5)
    wide, low, high = 0.42 + 0.25 * style, 0.85 + 0.1 * style, 2.25
    door = (storey == 0) & (hash_cells(column, part, sideways, salt=6) < 0.16)
    low = np.where(door, 0.05, low)
    inside = (
        (np.abs(fu - middle) < wide)
        & (fv > low)
        & (fv < high)
        & (chance < 0.88)
        & (storey >= 0)
        & (np.abs(face[:, 2]) < 0.5)
    )
    inside &= storey * _STOREY + high < 2 * size[:, 2] - 2.1
    frame = inside & (
        (np.abs(fu - middle) > wide - 0.07)
        | (fv < low + 0.08)
        | (fv > high - 0.08)
        | (np.abs(fu - middle) < 0.03)
    )
    glass = inside & ~frame & ~door
    plaster = (
        0.86
        + 0.16 * smooth_noise(along * 0.7, up * 0.7, 11)
        + 0.1 * hash_cells(along * 12, up * 12, salt=12)
    )
    plaster *= np.where(up < 0.5, 0.7, 1.0) * np.where((fv < 0.06) & (style > 0.6), 0.75, 1.0)
    bricks = style < 0.22
    course = np.floor(up / 0.085)
    joint = (np.mod(up / 0.085, 1) < 0.14) | (
        np.mod(along / 0.25 + 0.5 * np.mod(course, 2), 1) < 0.05
    )
    plaster = np.where(
        bricks,
        np.where(
            joint,
            1.15,
            0.7 + 0.5 * hash_cells(along / 0.25 + 0.5 * np.mod(course, 2), course, salt=13),
        ),
        plaster,
    )
    sill = (
        (np.abs(fu - middle) < wide + 0.1)
        & (fv > low - 0.14)
        & (fv <= low)
        & (chance < 0.88)
        & ~door
        & (storey >= 0)
    )
    shutters = (
        (style > 0.75)
        & (np.abs(fu - middle) < wide * 2)
        & (np.abs(fu - middle) >= wide)
        & (fv > low)
        & (fv < high)
        & (chance < 0.88)
    )
    color = albedo[at] * plaster[:, None]
    color[sill] = 0.5
    color[shutters] = (0.08, 0.16, 0.1)
    color[frame] = _WHITE
    tone = hash_cells(column, storey, part, salt=8)
    color[glass] = (
        _GLASS
        + 0.25
        * (tone[glass, None] > 0.7)
        * hash_cells(fu[glass] * 7, fv[glass] * 0, salt=9)[:, None]
    )  # some have curtains
    leaf = inside & door & ~frame
    color[leaf] = np.stack(
        [0.12 + 0.25 * tone[leaf], 0.08 + 0.12 * tone[leaf], 0.06 + 0.1 * tone[leaf]], axis=1
    )
    albedo[at] = color
    gloss[at[glass]] = 0.85
    glow[at[glass]] = np.where(tone[glass] > 0.6, tone[glass], 0)


def _roof(albedo, gloss, glow, at, q, face, size, part):
    rows = np.mod(q[:, 2] / 0.22, 1)
    tile = hash_cells(
        np.floor((q[:, 0] + q[:, 1] * (np.abs(face[:, 0]) > 0.5)) / 0.25),
        np.floor(q[:, 2] / 0.22),
        part,
        salt=21,
    )
    albedo[at] *= ((0.75 + 0.35 * tile) * np.where(rows < 0.2, 0.65, 1.0))[:, None]
    gable = (np.abs(face[:, 0]) > 0.9) & (size[:, 2] > 0.8)
    albedo[at[gable]] = np.array((0.5, 0.46, 0.4), np.float32) * (0.9 + 0.2 * tile[gable, None])


def _leaves(albedo, gloss, glow, at, q, face, size, part):
    fine = hash_cells(q[:, 0] * 14, q[:, 1] * 14, q[:, 2] * 14, salt=31)
    clump = hash_cells(q[:, 0] * 2.5, q[:, 1] * 2.5, q[:, 2] * 2.5, salt=32)
    tint = np.stack(
        [0.35 + 0.9 * fine + 0.25 * clump, 0.4 + 0.95 * fine, 0.35 + 0.7 * fine], axis=1
    )
    albedo[at] *= tint * (0.55 + 0.55 * clump)[:, None]


def _blossom(albedo, gloss, glow, at, q, face, size, part):
    _leaves(albedo, gloss, glow, at, q, face, size, part)
    flower = hash_cells(q[:, 0] * 11, q[:, 1] * 11, q[:, 2] * 11, salt=33) > 0.75
    albedo[at[flower]] = (0.5, 0.35, 0.12)


def _bark(albedo, gloss, glow, at, q, face, size, part):
    turn = np.arctan2(q[:, 1], q[:, 0])
    albedo[at] *= (0.55 + 0.8 * hash_cells(turn * 9, q[:, 2] * 3, salt=35))[:, None]


def _car_body(albedo, gloss, glow, at, q, face, size, part):
    x, y, z = (q / size).T
    color = albedo[at]
    sill = q[:, 2] < -size[:, 2] + 0.1
    color[sill] = 0.04
    line = (np.abs(face[:, 1]) > 0.7) & (
        (np.abs(x - 0.28) < 0.006) | (np.abs(x + 0.18) < 0.006) | (np.abs(z - 0.25) < 0.02)
    )
    color[line] *= 0.45
    ahead, behind = face[:, 0] > 0.75, face[:, 0] < -0.75
    lamp = (np.abs(y) > 0.56) & (np.abs(y) < 0.95) & (z > 0.25) & (z < 0.85)
    color[ahead & lamp] = 0.75
    color[behind & lamp] = (0.45, 0.02, 0.02)
    color[ahead & (np.abs(y) < 0.5) & (z > -0.3) & (z < 0.35)] = 0.05  # grille
    plate = (np.abs(q[:, 1]) < 0.26) & (np.abs(z + 0.05) < 0.16)
    color[(ahead | behind) & plate] = 0.65
    albedo[at] = color
    dull = sill | ((ahead | behind) & plate)
    gloss[at[dull]] = 0.0


def _car_cabin(albedo, gloss, glow, at, q, face, size, part):
    x, y, z = (q / size).T
    roof = face[:, 2] > 0.93
    edge = (z < -0.82) | (z > 0.88)
    sides = np.abs(face[:, 1]) > 0.7
    pillar = sides & ((np.abs(x + 0.12) < 0.035) | (np.abs(x) > 0.88 - 0.22 * (z + 1)))
    corner = ~sides & (np.abs(y) > 0.90 - 0.1 * (z + 1))
    painted = roof | edge | pillar | corner
    glass = at[~painted]
    albedo[glass] = _GLASS
    gloss[at[painted]] = 0.5


def _wheel(albedo, gloss, glow, at, q, face, size, part):
    away = np.hypot(q[:, 0], q[:, 1]) / size[:, 0]
    spokes = np.mod(np.arctan2(q[:, 1], q[:, 0]) * 5 / (2 * np.pi), 1) < 0.6
    rim = (np.abs(face[:, 2]) > 0.5) & (away < 0.68)
    albedo[at] = np.where(rim, np.where(spokes | (away < 0.2) | (away > 0.6), 0.38, 0.06), 0.025)[
        :, None
    ]


def _livery(albedo, gloss, glow, at, q, face, size, part):
    z = q[:, 2] / size[:, 2]
    tone = np.stack([hash_cells(part, part * 0, salt=salt) for salt in (41, 42, 43)], axis=1)
    color = albedo[at]
    band = (z > -0.35) & (z < -0.15)
    color[band] = 0.1 + 0.5 * tone[band]
    letters = (
        (np.abs(face[:, 1]) > 0.5) & (z > 0.1) & (z < 0.5) & (np.abs(q[:, 0]) < 0.6 * size[:, 0])
    )
    letters &= hash_cells(q[:, 0] * 4, q[:, 2] * 3, part) < 0.6
    color[letters] = 0.5 * (1 - tone[letters])
    albedo[at] = color


def _glass(albedo, gloss, glow, at, q, face, size, part):
    along = np.where(np.abs(face[:, 0]) > np.abs(face[:, 1]), q[:, 1], q[:, 0])
    post = (np.mod(along / 1.25, 1) < 0.07) | (np.abs(face[:, 2]) > 0.6)
    albedo[at] = np.where(post[:, None], 0.12, _GLASS)
    gloss[at[post]] = 0.1


def _sign(albedo, gloss, glow, at, q, face, size, part):
    flat = size[:, 2] < 0.03  # a tube's axis is z; a board's x
    u, v = (
        np.where(flat, q[:, 1] / size[:, 1], q[:, 1] / size[:, 1]),
        np.where(flat, q[:, 0] / size[:, 0], q[:, 2] / size[:, 2]),
    )
    color = albedo[at]
    blue = color[:, 2] > 0.25
    ring = np.where(flat, np.hypot(u, v) > 0.78, (np.abs(u) > 0.9) | (np.abs(v) > 0.88))
    symbol = (
        (hash_cells(u * 2.2 + 9, v * 2.2, part, salt=51) < 0.35)
        & (np.abs(u) < 0.6)
        & (np.abs(v) < 0.6)
    )
    red = (color[:, 0] > 0.55) & (color[:, 1] < 0.1)
    color[red & ~ring] = _WHITE
    color[red & ~ring & symbol] = _BLACK
    color[blue & (symbol | (ring & ~flat))] = _WHITE
    color[~red & ~blue & symbol] = _BLACK
    back = np.where(flat, face[:, 2] > -0.5, face[:, 0] < 0.5)
    color[back] = 0.32
    albedo[at] = color


def _boards(albedo, gloss, glow, at, q, face, size, part):
    board = np.floor(q[:, 0] / 0.14)
    albedo[at] *= (
        (0.75 + 0.4 * hash_cells(board, part, salt=61))
        * np.where(np.mod(q[:, 0] / 0.14, 1) < 0.1, 0.5, 1.0)
    )[:, None]


def _cloth(albedo, gloss, glow, at, q, face, size, part):
    albedo[at] *= (0.75 + 0.5 * smooth_noise(q[:, 0] * 9 + q[:, 1] * 9, q[:, 2] * 6, 71))[:, None]


_PATTERNS = {
    looks.PLAIN: _plain,
    looks.FACADE: _facade,
    looks.ROOF: _roof,
    looks.LEAVES: _leaves,
    looks.BLOSSOM: _blossom,
    looks.BARK: _bark,
    looks.CAR_BODY: _car_body,
    looks.CAR_CABIN: _car_cabin,
    looks.WHEEL: _wheel,
    looks.LIVERY: _livery,
    looks.GLASS: _glass,
    looks.SIGN: _sign,
    looks.BOARDS: _boards,
    looks.CLOTH: _cloth,
}


def _ground(albedo, zone, points, distance, ground):
    """Grain, stains and joints of the ground; what is finer than a pixel fades with distance."""
    x, y = points[:, 0], points[:, 1]
    near = np.clip(1.3 - distance / 25, 0, 1)
    grain = (hash_cells(x * 40, y * 40, salt=81) - 0.5) * near
    stain = smooth_noise(x * 0.35, y * 0.35, 82) - 0.5
    shade = 1 + 0.35 * grain + 0.3 * stain
    asphalt = (zone == zones.ASPHALT) | (zone == zones.PARKING) | (zone == zones.FOOTWAY)
    crack = (
        asphalt
        & (np.abs(smooth_noise(x * 0.22, y * 0.22, 83) - 0.5) < 0.0035)
        & (smooth_noise(x * 0.05, y * 0.05, 84) > 0.5)
    )
    shade[crack] *= 0.55
    worn = zone == zones.MARKING
    shade[worn] *= 0.75 + 0.35 * (hash_cells(x[worn] * 12, y[worn] * 12, salt=85) > 0.25)
    paved = np.flatnonzero(
        (zone == zones.SLABS) | (zone == zones.PARKING_STONES) | (zone == zones.DRIVEWAY)
    )
    along, across = ground.road_coordinates(x[paved], y[paved])
    edge = np.where(zone[paved] == zones.SLABS, 0.5, 0.22)
    row = np.floor(across / edge)
    joint = (np.mod(across / edge, 1) < 0.045) | (
        np.mod(along / edge + 0.5 * np.mod(row, 2), 1) < 0.045
    )
    tone = 0.85 + 0.3 * hash_cells(along / edge + 0.5 * np.mod(row, 2), row, salt=86)
    shade[paved] *= tone * np.where(joint & (distance[paved] < 30), 0.62, 1.0)
    colour = albedo * shade[:, None]
    green = np.flatnonzero((zone == zones.LAWN) | (zone == zones.SOIL))
    blades = (
        0.6
        + 0.8 * hash_cells(x[green] * 22, y[green] * 22, salt=87) * near[green]
        + 0.4 * (1 - near[green])
    )
    dry = smooth_noise(x[green] * 0.25, y[green] * 0.25, 88)[:, None] * np.array(
        (0.12, 0.08, 0.03), np.float32
    )
    colour[green] = (albedo[green] + dry) * blades[:, None]
    return colour

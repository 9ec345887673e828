"""Bodies of trees, bushes and hedges: solid trunks, and crowns that light and LiDAR pass in
part.
"""

import numpy as np

from cmdfusion_ros.data.synthetic.solids import (
    BARK,
    BLOSSOM,
    LEAVES,
    Material,
    Solid,
    box,
    crown,
    rod,
)

VEGETATION, TRUNK = 70, 71
_GREENS = (
    (0.10, 0.17, 0.04),
    (0.07, 0.13, 0.04),
    (0.13, 0.18, 0.05),
    (0.16, 0.17, 0.05),
    (0.22, 0.15, 0.05),
    (0.05, 0.09, 0.04),
)


def _leaves(rng):
    common = (0.3, 0.25, 0.2, 0.12, 0.05, 0.08)
    paint = np.array(_GREENS[rng.choice(len(_GREENS), p=common)]) * rng.uniform(0.8, 1.25)
    return Material(VEGETATION, tuple(paint), LEAVES, float(rng.uniform(0.2, 0.5)))


def _bark(rng):
    paint = np.array((0.14, 0.105, 0.08)) * rng.uniform(0.7, 1.4)
    return Material(TRUNK, tuple(paint), BARK, float(rng.uniform(0.2, 0.45)))


def broadleaf(rng: np.random.Generator, grow: float = 1.0) -> list[Solid]:
    """A tree 4 to 18 m high: trunk, boughs that belong to it, a crown of overlapping clumps."""
    height, bark, leaves = rng.uniform(5.0, 13) * grow, _bark(rng), _leaves(rng)
    fork = height * rng.uniform(0.14, 0.4)
    radius = 0.009 * height * rng.uniform(0.7, 1.8) + 0.04
    lean = rng.normal(0, 0.25, 2)
    top = np.array([*lean, fork])
    parts = [rod((0, 0, -0.3), top, radius, bark, radius * 0.75)]
    spread, salt = height * rng.uniform(0.2, 0.38), int(rng.integers(1000))
    middle = top + (0, 0, (height - fork) * 0.45)
    turn, tall = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.2)
    for number in range(rng.integers(7, 12)):
        angle, out = turn + number * 2.4, spread * rng.uniform(0.25, 0.95)
        rise = rng.uniform(-0.38, 0.42) * (1.2 - 0.6 * out / spread) * tall
        away = (out * np.cos(angle), out * np.sin(angle), (height - fork) * rise)
        tip = middle + away
        if number % 2 == 0:
            parts.append(rod(top, top + 0.8 * (tip - top), radius * 0.5, bark, radius * 0.2))
        size = spread * rng.uniform(0.3, 0.6)
        shape = size * np.array((*rng.uniform(0.75, 1.3, 2), rng.uniform(0.55, 0.95)))
        clump = crown(
            tuple(tip), tuple(shape), leaves, rng.uniform(0.35, 0.65), rng.uniform(0.09, 0.15),
            salt + number,
        )  # fmt: skip
        parts.append(clump)
    core = (spread * 0.7, spread * 0.7, (height - fork) * 0.45)
    parts.append(crown(tuple(middle), core, leaves, 0.5, 0.14, salt + 50))
    return parts


def poplar(rng: np.random.Generator, grow: float = 1.0) -> list[Solid]:
    """A slim tree: leaves almost from the ground to the tip."""
    height, bark, leaves = rng.uniform(5, 14) * grow, _bark(rng), _leaves(rng)
    wide, salt, start = height * rng.uniform(0.07, 0.13), int(rng.integers(1000)), 0.12 * height
    parts = [rod((0, 0, -0.3), (0, 0, height * 0.8), 0.011 * height + 0.04, bark, 0.03)]
    for number, share in enumerate(np.linspace(0.12, 0.88, 5)):
        size = wide * (1.1 - 0.55 * abs(share - 0.4))
        place = (*rng.normal(0, 0.1, 2), start + (height - start) * share)
        parts.append(crown(place, (size, size, height * 0.14), leaves, 0.6, 0.11, salt + number))
    return parts


def conifer(rng: np.random.Generator, grow: float = 1.0) -> list[Solid]:
    """A fir: a thin trunk and rings of branches that shrink upwards."""
    height, bark, salt = rng.uniform(5, 14) * grow, _bark(rng), int(rng.integers(1000))
    leaves = Material(
        VEGETATION, tuple(np.array((0.05, 0.085, 0.035)) * rng.uniform(0.8, 1.3)), LEAVES, 0.3
    )
    width = height * rng.uniform(0.16, 0.24)
    parts = [rod((0, 0, -0.3), (0, 0, height * 0.9), 0.012 * height + 0.05, bark, 0.03)]
    for number, share in enumerate(np.linspace(0.16, 0.95, 6)):
        size = width * (1.08 - share)
        parts.append(
            crown(
                (0, 0, height * share),
                (size, size, height * 0.14),
                leaves,
                0.62,
                0.14,
                salt + number,
            )
        )
    return parts


def bush(rng: np.random.Generator, grow: float = 1.0) -> list[Solid]:
    """One to three low clumps, 0.5 to 2 m high."""
    leaves, salt = _leaves(rng), int(rng.integers(1000))
    if rng.random() < 0.15:
        leaves = Material(VEGETATION, leaves.paint, BLOSSOM, leaves.reflectance)
    parts = []
    for number in range(rng.integers(1, 4)):
        size, high = rng.uniform(0.4, 1.0) * grow, rng.uniform(0.35, 1.0) * grow
        parts.append(
            crown(
                (*rng.normal(0, 0.5 * grow, 2), high * 0.8),
                (size, size * rng.uniform(0.7, 1.2), high),
                leaves,
                0.75,
                0.09,
                salt + number,
            )
        )
    return parts


def ground_cover(rng: np.random.Generator) -> list[Solid]:
    """A patch of low plants, 0.1 to 0.5 m high."""
    leaves, salt, high = _leaves(rng), int(rng.integers(1000)), rng.uniform(0.1, 0.5)
    parts = []
    for number in range(rng.integers(2, 5)):
        place = (*rng.normal(0, 0.9, 2), high * 0.4)
        shape = (rng.uniform(0.6, 1.5), rng.uniform(0.6, 1.5), high * rng.uniform(0.7, 1.1))
        parts.append(crown(place, shape, leaves, 0.7, 0.07, salt + number))
    return parts


def hedge(
    rng: np.random.Generator, length: float, tall: bool = False, low: bool = False
) -> list[Solid]:
    """A hedge along x, cut or grown out: shoots that stand out of it, and a ragged top.

    Args:
        rng: Generator. length: metres. tall, low: 1.6 to 4 m, or 0.4 to 0.8 m; else 0.6 to 2.2.
    """
    height = rng.uniform(*((1.6, 4.0) if tall else (0.4, 0.8) if low else (0.6, 2.2)))
    depth, leaves = rng.uniform(0.25, 0.6), _leaves(rng)
    salt, wild = int(rng.integers(1000)), rng.random() < 0.5
    inner = height * (0.75 if wild else 1.0)
    parts = [box((0, 0, inner / 2 - 0.1), (length / 2, depth * 0.9, inner / 2), leaves)]
    for number, x in enumerate(np.arange(-length / 2 + 0.5, length / 2 - 0.3, 1.1)):
        out, up = (rng.uniform(0.1, 0.5), rng.uniform(0.5, 0.75)) if wild else (0.14, 0.53)
        shift = rng.normal(0, 0.1) if wild else 0.0
        place = (x + rng.uniform(-0.2, 0.2), shift, height * rng.uniform(0.45, 0.6))
        shape = (0.75, depth + out * rng.uniform(0.6, 1.2), height * up)
        parts.append(crown(place, shape, leaves, 0.5, 0.08, salt + number % 40))
    return parts


def grove(rng: np.random.Generator, length: float, depth: float) -> list[Solid]:
    """Trees and undergrowth of a piece of wood, length along x, depth along y."""
    parts = []
    for x in np.arange(-length / 2 + 2, length / 2 - 1, rng.uniform(4, 6)):
        for body in (
            (conifer(rng) if rng.random() < 0.25 else broadleaf(rng, rng.uniform(0.8, 1.3))),
            bush(rng, 1.5),
        ):
            shift = (x + rng.uniform(-1.5, 1.5), rng.uniform(-depth / 2, depth / 2), 0)
            parts += [
                type(part)(
                    part.kind,
                    tuple(np.add(part.centre, shift)),
                    part.half,
                    part.material,
                    part.shape,
                    part.rotation,
                )
                for part in body
            ]
    return parts

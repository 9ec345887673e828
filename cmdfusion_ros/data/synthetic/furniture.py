"""Bodies of street furniture: lamps, signs, fences, walls."""

import numpy as np

from cmdfusion_ros.data.synthetic.solids import (
    BOARDS,
    PLAIN,
    SIGN,
    TUBE,
    Material,
    Part,
    box,
    grille,
    rod,
    wedge,
)

FENCE, POLE, TRAFFIC_SIGN, OTHER_OBJECT = 51, 80, 81, 99
_GREY = Material(POLE, (0.33, 0.34, 0.35), PLAIN, 0.24, gloss=0.15)
_FACING = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # a tube around x, its lower end forward
# What the plate shows: paint of the border, paint of the field. The shape follows in
# `traffic_sign`.
_RED, _BLUE, _YELLOW = (0.6, 0.02, 0.02), (0.02, 0.10, 0.45), (0.7, 0.55, 0.02)
_PLATES = (
    (_RED, "round"),
    (_BLUE, "square"),
    (_RED, "triangle"),
    (_BLUE, "round"),
    (_YELLOW, "square"),
)


def lamp(rng):
    """A street lamp; its arm reaches along +y. 4 to 9 m high."""
    height = rng.uniform(4.0, 9.0)
    paint = tuple(np.array(_GREY.paint) * rng.uniform(0.3, 1.2))
    steel = Material(POLE, paint, PLAIN, 0.24)
    parts = [
        rod((0, 0, -0.2), (0, 0, height), 0.07, steel, 0.04),
        rod((0, 0, -0.1), (0, 0, 1.0), 0.085, steel),
    ]
    if height > 5.5:
        reach = rng.uniform(0.8, 2.0)
        return [
            *parts,
            rod((0, 0, height), (0, reach, height + 0.2), 0.05, steel),
            box((0, reach, height + 0.2), (0.14, 0.4, 0.06), steel),
        ]
    return [*parts, rod((0, 0, height), (0, 0, height + 0.5), 0.16, steel, 0.26)]


def mast(rng):
    """A wooden pole of an overhead line."""
    wood = Material(POLE, (0.20, 0.15, 0.11), PLAIN, 0.3)
    height = rng.uniform(6.5, 9)
    return [
        rod((0, 0, -0.2), (0, 0, height), 0.115, wood, 0.08),
        box((0, 0, height - 0.4), (0.05, 0.7, 0.05), wood),
    ]


def bollard(rng):
    """A post a metre high."""
    return [
        rod(
            (0, 0, -0.1),
            (0, 0, rng.uniform(0.7, 1.1)),
            rng.uniform(0.04, 0.08),
            Material(POLE, tuple(rng.uniform(0.1, 0.7, 1).repeat(3)), PLAIN, 0.3),
        )
    ]


def traffic_sign(rng):
    """A pole with one or two plates that face +x (against those who come from there)."""
    height = rng.uniform(2.2, 3.2)
    parts = [rod((0, 0, -0.2), (0, 0, height + 0.25), 0.038, _GREY)]
    for number in range(1 + (rng.random() < 0.3)):
        paint, form = _PLATES[rng.integers(len(_PLATES))]
        material = Material(TRAFFIC_SIGN, paint, SIGN, float(rng.uniform(0.6, 1.0)))
        size, z = rng.uniform(0.3, 0.4), height - 0.85 * number
        if form == "round":
            parts.append(
                Part(
                    TUBE, (0.06, 0, z), (size, size, 0.015), material, (1.0, 0.0, 0.0, 0.0), _FACING
                )
            )
        elif form == "square":
            parts.append(
                box(
                    (0.06, 0, z),
                    (0.015, size * rng.uniform(0.8, 1.3), size * rng.uniform(0.8, 1.2)),
                    material,
                )
            )
        else:
            parts.append(wedge((0.06, 0, z), (0.015, size * 1.15, size), material, sides=0.97))
    return parts


def direction_board(rng):
    """A board on two poles, as at a town's edge."""
    wide = rng.uniform(0.8, 1.6)
    paint = ((0.65, 0.5, 0.02), (0.02, 0.1, 0.4), (0.6, 0.6, 0.58))[rng.integers(3)]
    plate = Material(TRAFFIC_SIGN, paint, SIGN, float(rng.uniform(0.6, 0.95)))
    posts = [
        rod((0, side * wide * 0.7, -0.2), (0, side * wide * 0.7, 2.6), 0.045, _GREY)
        for side in (-1, 1)
    ]
    return [*posts, box((0.07, 0, 2.0), (0.015, wide, rng.uniform(0.35, 0.7)), plate)]


def other_object(rng):
    """What else stands in a street: dustbins, cabinets, a bench, a planter, a traffic cone, an
    advertising pillar. SemanticKITTI's other-object.
    """
    kind = rng.choice(["bin", "bin", "cabinet", "bench", "planter", "cone", "pillar"])
    paint = tuple(
        np.array(
            ((0.10, 0.11, 0.10), (0.05, 0.16, 0.08), (0.42, 0.40, 0.36), (0.10, 0.14, 0.3))[
                rng.integers(4)
            ]
        )
        * rng.uniform(0.7, 1.3)
    )
    stuff = Material(OTHER_OBJECT, paint, PLAIN, float(rng.uniform(0.15, 0.45)))
    if kind == "bin":
        high, wide = rng.uniform(0.45, 0.68), rng.uniform(0.25, 0.65)
        return [
            wedge((0, 0, high), (wide / 2, 0.3, high), stuff, 0.02, 0.05, 0.05),
            box((0.03, 0, 2 * high + 0.03), (wide / 2 + 0.08, 0.35, 0.04), stuff),
        ]
    if kind == "cabinet":
        high = rng.uniform(0.5, 0.85)
        return [
            box((0, 0, high - 0.05), (rng.uniform(0.15, 0.25), rng.uniform(0.3, 0.8), high), stuff)
        ]
    if kind == "bench":
        back = box((-0.2, 0, 0.65), (0.03, 0.8, 0.18), stuff)
        return [
            box((0, 0, 0.45), (0.22, 0.8, 0.04), stuff),
            back,
            *[box((0, side * 0.6, 0.2), (0.18, 0.05, 0.22), stuff) for side in (-1, 1)],
        ]
    if kind == "planter":
        return [
            rod(
                (0, 0, -0.05),
                (0, 0, rng.uniform(0.4, 0.7)),
                rng.uniform(0.35, 0.7),
                stuff,
                rng.uniform(0.7, 0.9),
            )
        ]
    if kind == "cone":
        orange = Material(OTHER_OBJECT, (0.6, 0.12, 0.02), PLAIN, 0.5)
        return [
            rod((0, 0, 0), (0, 0, rng.uniform(0.45, 0.75)), 0.15, orange, 0.04),
            box((0, 0, 0.02), (0.19, 0.19, 0.02), orange),
        ]
    return [rod((0, 0, -0.1), (0, 0, rng.uniform(2.4, 3.2)), rng.uniform(0.4, 0.6), stuff)]


def guard_rail(length):
    """A crash barrier along x: a steel band on posts."""
    steel = Material(FENCE, (0.42, 0.43, 0.44), PLAIN, 0.3, gloss=0.2)
    posts = [
        box((x, 0, 0.3), (0.05, 0.06, 0.35), steel)
        for x in np.arange(-length / 2 + 1, length / 2, 2.0)
    ]
    return [box((0, 0, 0.6), (length / 2, 0.04, 0.15), steel), *posts]


def fence(rng, length):
    """A fence along x: slats, wire, planks or a low wall with a railing."""
    kind, height = rng.choice(["slats", "wire", "planks", "wall"]), rng.uniform(0.9, 1.8)
    half = length / 2
    if kind == "wall":
        wall = Material(
            FENCE, tuple(np.array((0.45, 0.42, 0.38)) * rng.uniform(0.6, 1.3)), PLAIN, 0.36
        )
        low = rng.uniform(0.4, 1.4)
        parts = [box((0, 0, low / 2 - 0.2), (half, 0.12, low / 2 + 0.2), wall)]
        if low < 0.8:
            parts.append(
                grille(
                    (0, 0, low + 0.35),
                    (half, 0.02, 0.35),
                    Material(FENCE, (0.12, 0.13, 0.12), PLAIN, 0.3),
                    0.13,
                    0.3,
                    0.05,
                )
            )
        return parts
    if kind == "planks":
        return [
            box(
                (0, 0, height / 2),
                (half, 0.03, height / 2),
                Material(
                    FENCE, tuple(np.array((0.30, 0.21, 0.13)) * rng.uniform(0.5, 1.3)), BOARDS, 0.33
                ),
            )
        ]
    wood = kind == "slats"
    paint = np.array((0.34, 0.25, 0.16) if wood else (0.15, 0.2, 0.16)) * rng.uniform(0.6, 1.5)
    material = Material(FENCE, tuple(paint), PLAIN, 0.32)
    period, solid = (rng.uniform(0.11, 0.16), rng.uniform(0.5, 0.7)) if wood else (0.06, 0.34)
    posts = [
        rod((x, 0, -0.2), (x, 0, height + 0.05), 0.045, material)
        for x in np.linspace(-half, half, max(2, round(length / 2.5) + 1))
    ]
    return [
        *posts,
        grille(
            (0, 0, height / 2 + 0.04),
            (half, 0.018, height / 2 - 0.04),
            material,
            period,
            solid,
            0.06,
        ),
    ]

"""Bodies of street furniture: lamps, signs, fences, walls."""

import numpy as np

from cmdfusion_ros.data.synthetic.solids import (
    BOARDS,
    GLASS,
    PLAIN,
    SIGN,
    TUBE,
    Material,
    Solid,
    ball,
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


def lamp(rng: np.random.Generator) -> list[Solid]:
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


def mast(rng: np.random.Generator) -> list[Solid]:
    """A wooden pole of an overhead line."""
    wood = Material(POLE, (0.20, 0.15, 0.11), PLAIN, 0.3)
    height = rng.uniform(6.5, 9)
    return [
        rod((0, 0, -0.2), (0, 0, height), 0.115, wood, 0.08),
        box((0, 0, height - 0.4), (0.05, 0.7, 0.05), wood),
    ]


def bollard(rng: np.random.Generator) -> list[Solid]:
    """A post a metre high."""
    return [
        rod(
            (0, 0, -0.1),
            (0, 0, rng.uniform(0.7, 1.1)),
            rng.uniform(0.04, 0.08),
            Material(POLE, tuple(rng.uniform(0.1, 0.7, 1).repeat(3)), PLAIN, 0.3),
        )
    ]


def traffic_sign(rng: np.random.Generator) -> list[Solid]:
    """A pole with one or two plates that face +x (against those who come from there)."""
    height = rng.uniform(2.2, 3.2)
    parts = [rod((0, 0, -0.2), (0, 0, height + 0.25), 0.038, _GREY)]
    for number in range(1 + (rng.random() < 0.3)):
        paint, form = _PLATES[rng.integers(len(_PLATES))]
        material = Material(TRAFFIC_SIGN, paint, SIGN, float(rng.uniform(0.6, 1.0)))
        size, z = rng.uniform(0.3, 0.4), height - 0.85 * number
        if form == "round":
            parts.append(
                Solid(
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


def direction_board(rng: np.random.Generator) -> list[Solid]:
    """A board on two poles, as at a town's edge."""
    wide = rng.uniform(0.8, 1.6)
    paint = ((0.65, 0.5, 0.02), (0.02, 0.1, 0.4), (0.6, 0.6, 0.58))[rng.integers(3)]
    plate = Material(TRAFFIC_SIGN, paint, SIGN, float(rng.uniform(0.6, 0.95)))
    posts = [
        rod((0, side * wide * 0.7, -0.2), (0, side * wide * 0.7, 2.6), 0.045, _GREY)
        for side in (-1, 1)
    ]
    return [*posts, box((0.07, 0, 2.0), (0.015, wide, rng.uniform(0.35, 0.7)), plate)]


def traffic_light(rng: np.random.Generator) -> list[Solid]:
    """A pole with boxes of lamps towards +x, some with an arm over the road (+y)."""
    height, dark = rng.uniform(2.6, 3.6), Material(POLE, (0.04, 0.04, 0.04), PLAIN, 0.2)
    steel = Material(POLE, tuple(rng.uniform(0.1, 0.5, 1).repeat(3)), PLAIN, 0.25)
    parts = [rod((0, 0, -0.2), (0, 0, height + 0.2), rng.uniform(0.05, 0.09), steel)]
    parts.append(box((0.14, 0, height - 0.3), (0.12, 0.15, 0.45), dark))
    if rng.random() < 0.4:
        reach = rng.uniform(2.0, 4.5)
        parts.append(rod((0, 0, height), (0, 0, 5.6), 0.09, steel))
        parts.append(rod((0, 0, 5.5), (0, reach, 5.7), 0.06, steel))
        parts.append(box((0.12, reach, 5.4), (0.12, 0.16, 0.48), dark))
    return parts


def bus_stop(rng: np.random.Generator) -> list[Solid]:
    """A shelter: roof, glass back and side, bench; open towards -y."""
    steel = Material(OTHER_OBJECT, tuple(rng.uniform(0.1, 0.5, 1).repeat(3)), PLAIN, 0.28)
    glass = Material(OTHER_OBJECT, (0.06, 0.07, 0.08), GLASS, 0.1, gloss=0.8)
    half, deep, high = rng.uniform(1.4, 2.4), rng.uniform(0.6, 0.8), rng.uniform(2.2, 2.5)
    corners = [(x, y) for x in (-half, half) for y in (-deep, deep)]
    return [
        box((0, 0, high), (half + 0.1, deep + 0.1, 0.06), steel),
        *[rod((x, y, -0.1), (x, y, high), 0.04, steel) for x, y in corners],
        box((0, deep, 1.2), (half, 0.015, 0.9), glass),
        box((half, 0, 1.2), (0.015, deep, 0.9), glass),
        box((0, deep - 0.3, 0.45), (half * 0.7, 0.17, 0.04), steel),
        box((-half, -deep * 0.2, 1.2), (0.08, deep * 0.7, 0.85), steel),
    ]


_OBJECTS = ("bin", "bin", "cabinet", "cabinet", "bench", "bench", "planter", "cone", "pillar",
            "container", "letterbox", "stones", "table")  # fmt: skip
_OBJECT_PAINTS = (
    (0.10, 0.11, 0.10), (0.05, 0.16, 0.08), (0.42, 0.40, 0.36), (0.10, 0.14, 0.3),
    (0.5, 0.4, 0.04), (0.25, 0.18, 0.11),
)  # fmt: skip


def other_object(rng: np.random.Generator) -> list[Solid]:
    """What else stands in a street: dustbins, benches ... SemanticKITTI's other-object."""
    kind = rng.choice(_OBJECTS)
    paint = np.array(_OBJECT_PAINTS[rng.integers(len(_OBJECT_PAINTS))]) * rng.uniform(0.7, 1.3)
    stuff = Material(OTHER_OBJECT, tuple(paint), PLAIN, float(rng.uniform(0.1, 0.55)))
    return _MAKE[kind](rng, stuff)


def _bin(rng, stuff):
    parts = []
    for number in range(1 + (rng.random() < 0.35) * int(rng.integers(1, 4))):
        high, wide, x = rng.uniform(0.45, 0.68), rng.uniform(0.25, 0.65), 0.75 * number
        body = wedge((x, 0, high), (wide / 2, 0.3, high), stuff, 0.02, 0.05, 0.05)
        parts += [body, box((x + 0.03, 0, 2 * high + 0.03), (wide / 2 + 0.08, 0.35, 0.04), stuff)]
    return parts


def _container(rng, stuff):
    long, high = rng.uniform(0.6, 1.6), rng.uniform(0.55, 0.8)
    body = wedge((0, 0, high + 0.1), (long, 0.55, high), stuff, 0.0, 0.0, 0.08)
    return [body, rod((-long, 0, 2 * high), (long, 0, 2 * high), 0.45, stuff, flat=0.5)]


def _cabinet(rng, stuff):
    high = rng.uniform(0.5, 0.85)
    return [box((0, 0, high - 0.05), (rng.uniform(0.15, 0.25), rng.uniform(0.3, 0.8), high), stuff)]


def _bench(rng, stuff):
    legs = [box((0, side * 0.6, 0.2), (0.18, 0.05, 0.22), stuff) for side in (-1, 1)]
    parts = [box((0, 0, 0.45), (0.22, 0.8, 0.04), stuff), *legs]
    return parts + [box((-0.2, 0, 0.65), (0.03, 0.8, 0.18), stuff)] * (rng.random() < 0.75)


def _table(rng, stuff):
    """A table and chairs before a cafe, some under a parasol."""
    parts = [rod((0, 0, 0), (0, 0, 0.72), 0.05, stuff), rod((0, 0, 0.7), (0, 0, 0.74), 0.45, stuff)]
    for angle in np.arange(0, 6.2, 2.1) + rng.uniform(0, 2):
        x, y = 0.75 * np.cos(angle), 0.75 * np.sin(angle)
        parts += [box((x, y, 0.42), (0.2, 0.2, 0.03), stuff)]
        parts += [
            box((1.25 * x, 1.25 * y, 0.65), (0.03 + abs(y) / 5, 0.03 + abs(x) / 5, 0.2), stuff)
        ]
    if rng.random() < 0.4:
        parts += [rod((0, 0, 0.7), (0, 0, 2.3), 0.025, stuff)]
        parts += [rod((0, 0, 2.1), (0, 0, 2.5), 1.3, stuff, 0.1)]
    return parts


def _planter(rng, stuff):
    high, wide = rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.7)
    return [rod((0, 0, -0.05), (0, 0, high), wide, stuff, rng.uniform(0.7, 0.9))]


def _cone(rng, stuff):
    orange = Material(OTHER_OBJECT, (0.6, 0.12, 0.02), PLAIN, 0.5)
    body = rod((0, 0, 0), (0, 0, rng.uniform(0.45, 0.75)), 0.15, orange, 0.04)
    return [body, box((0, 0, 0.02), (0.19, 0.19, 0.02), orange)]


def _pillar(rng, stuff):
    return [rod((0, 0, -0.1), (0, 0, rng.uniform(2.4, 3.2)), rng.uniform(0.4, 0.6), stuff)]


def _letterbox(rng, stuff):
    post = rod((0, 0, -0.1), (0, 0, 1.0), 0.04, stuff)
    return [post, box((0, 0, 1.1), (0.14, 0.2, 0.2), stuff)]


def _stones(rng, stuff):
    grey = Material(OTHER_OBJECT, tuple(rng.uniform(0.2, 0.45, 1).repeat(3)), PLAIN, 0.35)
    sizes = [rng.uniform(0.2, 0.5, 3) for _ in range(rng.integers(1, 4))]
    return [ball((*rng.normal(0, 0.7, 2), 0.15), tuple(size), grey) for size in sizes]


_MAKE = {
    "bin": _bin, "container": _container, "cabinet": _cabinet, "bench": _bench, "table": _table,
    "planter": _planter, "cone": _cone, "pillar": _pillar, "letterbox": _letterbox,
    "stones": _stones,
}  # fmt: skip


def guard_rail(length: float) -> list[Solid]:
    """A crash barrier along x: a steel band on posts."""
    steel = Material(FENCE, (0.42, 0.43, 0.44), PLAIN, 0.3, gloss=0.2)
    posts = [
        box((x, 0, 0.3), (0.05, 0.06, 0.35), steel)
        for x in np.arange(-length / 2 + 1, length / 2, 2.0)
    ]
    return [box((0, 0, 0.6), (length / 2, 0.04, 0.15), steel), *posts]


_WALLS = ((0.45, 0.42, 0.38), (0.55, 0.53, 0.5), (0.33, 0.17, 0.12), (0.6, 0.57, 0.48))


def wall(
    rng: np.random.Generator, length: float, low: tuple[float, float] = (1.0, 2.6)
) -> list[Solid]:
    """A wall along x, `low` metres high; some with pillars or a coping."""
    paint = np.array(_WALLS[rng.integers(len(_WALLS))]) * rng.uniform(0.7, 1.2)
    stone = Material(FENCE, tuple(paint), PLAIN, float(rng.uniform(0.25, 0.5)))
    high, half = rng.uniform(*low), length / 2
    parts = [box((0, 0, high / 2 - 0.2), (half, 0.12, high / 2 + 0.2), stone)]
    if rng.random() < 0.4:
        parts.append(box((0, 0, high + 0.04), (half + 0.05, 0.18, 0.05), stone))
    if rng.random() < 0.4:
        posts = np.linspace(-half, half, max(2, round(length / 4) + 1))
        parts += [box((x, 0, high / 2), (0.2, 0.2, high / 2 + 0.15), stone) for x in posts]
    return parts


_FENCES = {"slats": 0.17, "wire": 0.22, "planks": 0.12, "wall": 0.14, "railing": 0.12,
           "rails": 0.1, "mesh": 0.13}  # fmt: skip


def fence(rng: np.random.Generator, length: float) -> list[Solid]:
    """A fence along x: slats, wire, planks, a wall, iron bars, wooden rails, or coarse mesh."""
    kind = rng.choice(list(_FENCES), p=list(_FENCES.values()))
    height, half = rng.uniform(0.8, 2.0), length / 2
    if kind == "wall":
        parts = wall(rng, length, (0.4, 1.4))
        high = parts[0].half[2] * 2 - 0.4
        if high < 0.8:
            iron = Material(FENCE, (0.12, 0.13, 0.12), PLAIN, 0.3)
            rail = (half, 0.02, 0.35)
            parts.append(grille((0, 0, high + 0.35), rail, iron, 0.13, 0.3, 0.05))
        return parts
    if kind == "planks":
        paint = np.array((0.30, 0.21, 0.13)) * rng.uniform(0.5, 1.3)
        wood = Material(FENCE, tuple(paint), BOARDS, float(rng.uniform(0.2, 0.45)))
        return [box((0, 0, height / 2), (half, 0.03, height / 2), wood)]
    wood = kind in ("slats", "rails")
    paint = np.array((0.34, 0.25, 0.16) if wood else (0.15, 0.2, 0.16)) * rng.uniform(0.6, 1.5)
    material = Material(FENCE, tuple(paint), PLAIN, float(rng.uniform(0.22, 0.55)))
    places = np.linspace(-half, half, max(2, round(length / 2.5) + 1))
    posts = [rod((x, 0, -0.2), (x, 0, height + 0.05), 0.045, material) for x in places]
    if kind == "rails":
        levels = np.linspace(0.35, height - 0.05, int(rng.integers(2, 4)))
        return posts + [box((0, 0, z), (half, 0.03, 0.06), material) for z in levels]
    period, solid = {
        "slats": (rng.uniform(0.11, 0.16), rng.uniform(0.5, 0.7)),
        "wire": (0.06, 0.34),
        "railing": (rng.uniform(0.12, 0.15), 0.18),
        "mesh": (0.05, rng.uniform(0.15, 0.3)),
    }[kind]
    middle, size = (0, 0, height / 2 + 0.04), (half, 0.018, height / 2 - 0.04)
    return [*posts, grille(middle, size, material, float(period), float(solid), 0.06)]

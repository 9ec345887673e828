"""Bodies of cars, trucks, other vehicles, bicycles and motorcycles. Body frame: x forward, y left,
z up, origin on the ground in the middle.

Every function takes a numpy Generator and gives a list of Parts; no two are alike.
"""

import numpy as np

from cmdfusion_ros.data.synthetic.solids import (
    CAR_BODY,
    CAR_CABIN,
    GLASS,
    LIVERY,
    WHEEL,
    Material,
    Solid,
    box,
    disc,
    rod,
    wedge,
)

CAR, BICYCLE, MOTORCYCLE, TRUCK, OTHER_VEHICLE, BUS = 10, 11, 15, 18, 20, 13
_PAINTS = (
    (0.55, 0.56, 0.58),
    (0.03, 0.03, 0.035),
    (0.78, 0.78, 0.77),
    (0.25, 0.26, 0.28),
    (0.08, 0.12, 0.28),
    (0.42, 0.04, 0.04),
    (0.10, 0.11, 0.12),
    (0.35, 0.37, 0.40),
    (0.05, 0.16, 0.12),
    (0.60, 0.50, 0.36),
    (0.62, 0.30, 0.05),
    (0.16, 0.30, 0.45),
)
_POPULAR = np.array([5, 5, 4, 4, 2, 1.3, 3, 3, 0.6, 0.6, 0.3, 1])
# name: length, width, height, height of the belt line, cabin from and to (share of the length),
# slope of windscreen and rear
_CARS = {
    "hatchback": (3.9, 1.70, 1.48, 0.92, -0.47, 0.22, 0.45, 0.18),
    "saloon": (4.6, 1.80, 1.44, 0.90, -0.36, 0.20, 0.42, 0.36),
    "estate": (4.7, 1.80, 1.47, 0.92, -0.48, 0.20, 0.34, 0.14),
    "suv": (4.5, 1.88, 1.70, 1.05, -0.47, 0.24, 0.32, 0.14),
    "van": (4.6, 1.86, 1.86, 1.05, -0.48, 0.36, 0.30, 0.06),
    "coupe": (4.3, 1.80, 1.34, 0.86, -0.40, 0.14, 0.52, 0.46),
}
_SHARES = np.array([0.30, 0.25, 0.2, 0.14, 0.06, 0.05])


def car(rng: np.random.Generator) -> list[Solid]:
    """A passenger car of one of six shapes, 3.6 to 5 m long."""
    length, width, height, belt, rear, front, windscreen, tail = _CARS[
        rng.choice(list(_CARS), p=_SHARES / _SHARES.sum())
    ]
    grow = rng.uniform(0.95, 1.06)
    length, width, height = (
        length * grow,
        width * rng.uniform(0.97, 1.03),
        height * rng.uniform(0.97, 1.04),
    )
    paint = _paint(rng)
    shell = Material(CAR, paint, CAR_BODY, _metal(rng, paint), gloss=0.55)
    cabin = Material(CAR, paint, CAR_CABIN, 0.12, gloss=0.75)
    clearance, half = 0.22, length / 2
    middle = (clearance + belt) / 2
    nose = belt - rng.uniform(0.1, 0.2)
    back, ahead = rear * length, front * length
    return [
        wedge(
            (0, 0, (clearance + nose) / 2),
            (half, width / 2, (nose - clearance) / 2),
            shell,
            front=0.03,
            rear=0.02,
            sides=0.03,
        ),
        wedge(
            ((back - half) / 2 + ahead / 2, 0, middle),
            ((ahead + half) / 2 - 0.03, width / 2 - 0.02, (belt - clearance) / 2),
            shell,
            0.04,
            0.02,
            0.06,
        ),
        wedge(
            ((back + ahead) / 2, 0, (belt + height) / 2),
            ((ahead - back) / 2, width / 2 - 0.05, (height - belt) / 2),
            cabin,
            windscreen,
            tail,
            0.2,
        ),
        *_wheels(CAR, 0.3 * length, width / 2 - 0.1, rng.uniform(0.29, 0.34)),
        *[
            box((ahead - 0.25, side * (width / 2 + 0.06), belt + 0.05), (0.07, 0.09, 0.07), shell)
            for side in (-1, 1)
        ],  # mirrors
    ]


def _paint(rng):
    paint = np.array(_PAINTS[rng.choice(len(_PAINTS), p=_POPULAR / _POPULAR.sum())])
    return tuple(float(value) for value in np.clip(paint * rng.uniform(0.85, 1.15), 0.02, 0.85))


def _metal(rng, paint):
    """LiDAR intensity of a painted sheet: dark and metallic paint sends little back; half of
    SemanticKITTI's points of cars have none.
    """
    if rng.random() < 0.55:
        return float(rng.uniform(0.0, 0.03))
    return float(np.clip(0.08 + 0.4 * np.mean(paint) + rng.normal(0, 0.06), 0.03, 0.5))


def _wheels(raw, reach, side, radius, axles=None):
    material = Material(raw, (0.03, 0.03, 0.03), WHEEL, 0.06)
    return [
        disc((x, y, radius), radius, 0.11, material)
        for x in (axles or (-reach, reach))
        for y in (-side, side)
    ]


def delivery_van(rng: np.random.Generator, raw: int = OTHER_VEHICLE) -> list[Solid]:
    """A van with lettering: the shape of a large car, told from one by its looks."""
    length, width, height = rng.uniform(5.0, 5.9), rng.uniform(1.95, 2.05), rng.uniform(2.1, 2.6)
    paint = (0.72, 0.72, 0.70) if rng.random() < 0.5 else tuple(rng.uniform(0.15, 0.75, 3))
    shell = Material(raw, paint, LIVERY, 0.33, gloss=0.3)
    glass = Material(raw, paint, CAR_CABIN, 0.12, gloss=0.7)
    return [
        wedge(
            (-0.45, 0, height / 2 + 0.15),
            (length / 2 - 0.45, width / 2, height / 2 - 0.15),
            shell,
            front=0.08,
            rear=0.02,
            sides=0.06,
        ),
        wedge((length / 2 - 0.6, 0, 0.72), (0.6, width / 2, 0.46), shell, front=0.1, sides=0.04),
        wedge(
            (length / 2 - 1.1, 0, 1.5), (0.75, width / 2 - 0.02, 0.42), glass, front=0.6, sides=0.1
        ),
        *_wheels(raw, 0.31 * length, width / 2 - 0.1, 0.34),
    ]


def caravan(rng: np.random.Generator) -> list[Solid]:
    """A caravan or trailer."""
    paint = tuple(np.array((0.75, 0.74, 0.70)) * rng.uniform(0.8, 1.1))
    length, height = (
        rng.uniform(3.5, 5.5),
        rng.uniform(2.0, 2.6) if rng.random() < 0.6 else rng.uniform(0.7, 1.3),
    )
    shell = Material(OTHER_VEHICLE, paint, LIVERY, 0.35, gloss=0.2)
    dark = Material(OTHER_VEHICLE, (0.1, 0.1, 0.1), reflectance=0.15)
    return [
        wedge(
            (0, 0, 0.45 + height / 2),
            (length / 2, 1.1, height / 2),
            shell,
            front=0.08,
            rear=0.04,
            sides=0.03,
        ),
        rod((length / 2, 0, 0.5), (length / 2 + 1.2, 0, 0.5), 0.05, dark),
        *_wheels(OTHER_VEHICLE, 0, 0.95, 0.32, axles=(-0.2,)),
    ]


def bus(rng: np.random.Generator) -> list[Solid]:
    """A city bus, 10 to 13 m."""
    length, paint = rng.uniform(10, 13), tuple(rng.uniform(0.15, 0.7, 3))
    shell, glass = (
        Material(BUS, paint, LIVERY, 0.3, gloss=0.3),
        Material(BUS, (0.06, 0.07, 0.08), GLASS, 0.1, gloss=0.8),
    )
    return [
        wedge((0, 0, 1.0), (length / 2, 1.25, 0.68), shell),
        wedge((0, 0, 2.15), (length / 2 - 0.02, 1.24, 0.5), glass, front=0.01, sides=0.03),
        wedge((0, 0, 2.85), (length / 2 - 0.03, 1.2, 0.22), shell, 0.01, 0.01, 0.1),
        *_wheels(BUS, 0, 1.1, 0.48, axles=(-0.26 * length, 0.3 * length)),
    ]


def truck(rng: np.random.Generator) -> list[Solid]:
    """A lorry: cab, and a box, a tarpaulin, or a flat bed with a load."""
    length, height, width = rng.uniform(6.0, 11.0), rng.uniform(2.9, 3.7), rng.uniform(2.2, 2.5)
    cab_length = rng.uniform(1.7, 2.3)
    cab = Material(TRUCK, _paint(rng), CAR_BODY, 0.3, gloss=0.4)
    glass = Material(TRUCK, (0.07, 0.08, 0.09), GLASS, 0.1, gloss=0.8)
    load = Material(
        TRUCK, tuple(rng.uniform(0.2, 0.8, 3)), LIVERY if rng.random() < 0.6 else 0, 0.38
    )
    dark = Material(TRUCK, (0.06, 0.06, 0.065), reflectance=0.12)
    front = length / 2
    low = rng.random() < 0.25
    top = rng.uniform(1.5, 2.0) if low else height
    rear = cab_length + 0.3
    return [
        wedge(
            (front - cab_length / 2, 0, 1.2),
            (cab_length / 2, width / 2, 0.75),
            cab,
            front=0.03,
            sides=0.02,
        ),
        wedge(
            (front - cab_length / 2, 0, 2.25),
            (cab_length / 2, width / 2 - 0.03, 0.35),
            glass,
            front=0.15,
            sides=0.05,
        ),
        wedge(
            (front - cab_length / 2 - 0.1, 0, 2.72),
            (cab_length / 2 - 0.15, width / 2 - 0.06, 0.14),
            cab,
            front=0.3,
        ),
        box((-rear / 2, 0, 0.85), ((length - rear) / 2, width / 2 - 0.35, 0.14), dark),
        box(
            (-rear / 2, 0, (1.0 + top) / 2), ((length - rear) / 2, width / 2, (top - 1.0) / 2), load
        ),
        *_wheels(
            TRUCK,
            0,
            width / 2 - 0.18,
            0.48,
            axles=(front - 1.1, -front + 1.2, -front + 2.3)[: 2 + (length > 8)],
        ),
    ]


def bicycle(rng: np.random.Generator, raw: int = BICYCLE) -> list[Solid]:
    """A bicycle standing upright; its wheels can be looked through."""
    paint = tuple(rng.uniform(0.03, 0.6, 3))
    frame, tyre = (
        Material(raw, paint, reflectance=0.3, gloss=0.2),
        Material(raw, (0.03, 0.03, 0.03), reflectance=0.12),
    )
    radius, base = rng.uniform(0.32, 0.36), rng.uniform(0.5, 0.56)
    hub, crank, saddle, head = (
        (-base, 0, radius),
        (-0.08, 0, 0.28),
        (-0.22, 0, 0.88),
        (base - 0.16, 0, 0.86),
    )
    bars = (base - 0.18, 0, 1.02)
    return [
        disc(hub, radius, 0.022, tyre, hole=0.86),
        disc((base, 0, radius), radius, 0.022, tyre, hole=0.86),
        *[
            rod(a, b, 0.025, frame)
            for a, b in (
                (hub, crank),
                (crank, saddle),
                (crank, head),
                (saddle, head),
                (hub, saddle),
                (head, (base, 0, radius)),
            )
        ],
        rod(head, bars, 0.02, frame),
        rod((bars[0], -0.28, bars[2]), (bars[0], 0.28, bars[2]), 0.02, tyre),
        box((saddle[0], 0, 0.93), (0.13, 0.07, 0.03), tyre),
        box((0.02, 0, 0.45), (0.05, 0.05, 0.05), tyre),
        *(
            [box((base, 0, 0.98), (0.16, 0.2, 0.12), tyre)] if rng.random() < 0.35 else []
        ),  # a basket
    ]


def motorcycle(rng: np.random.Generator, raw: int = MOTORCYCLE) -> list[Solid]:
    """A motorcycle or scooter standing upright."""
    paint = tuple(rng.uniform(0.05, 0.6, 3))
    body, tyre = (
        Material(raw, paint, CAR_BODY, 0.2, gloss=0.5),
        Material(raw, (0.03, 0.03, 0.03), reflectance=0.08),
    )
    metal = Material(raw, (0.35, 0.35, 0.36), reflectance=0.3, gloss=0.5)
    scooter = rng.random() < 0.4
    radius, base = (0.24, 0.62) if scooter else (0.31, 0.7)
    parts = [
        disc((-base, 0, radius), radius, 0.07, tyre, hole=0.5),
        disc((base, 0, radius), radius, 0.06, tyre, hole=0.5),
        rod((base, 0, radius), (base - 0.28, 0, 1.0), 0.05, metal),
        rod((base - 0.28, -0.36, 1.02), (base - 0.28, 0.36, 1.02), 0.02, tyre),
        box((-0.35, 0, 0.78), (0.42, 0.13, 0.07), tyre),
    ]
    if scooter:
        parts += [
            wedge((-0.35, 0, 0.5), (0.4, 0.17, 0.22), body, rear=0.2),
            box((0.1, 0, 0.3), (0.3, 0.15, 0.05), body),
        ]
        return [*parts, wedge((0.42, 0, 0.65), (0.09, 0.19, 0.32), body, rear=0.3)]
    parts += [
        box((0, 0, 0.45), (0.28, 0.18, 0.18), metal),
        wedge((0.12, 0, 0.82), (0.3, 0.15, 0.13), body, front=0.2, rear=0.4, sides=0.4),
    ]
    return [
        *parts,
        wedge((base - 0.2, 0, 0.95), (0.14, 0.16, 0.14), body, front=0.5),
        box((-0.75, 0, 0.85), (0.12, 0.1, 0.06), body),
    ]

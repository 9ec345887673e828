"""What lies beside a street, lot after lot: gardens with houses, rows of houses, halls with
parking, parks, woods, fields.
"""

import numpy as np

from cmdfusion_ros.data.synthetic import buildings, furniture, plants, vehicles
from cmdfusion_ros.data.synthetic.ground import (
    DRIVEWAY,
    FOOTWAY,
    GRAVEL,
    LAWN,
    PARKING,
    PARKING_STONES,
    SLABS,
    SOIL,
)

_DEEP = 34.0  # metres from the middle of the road to the back of the lots
# Shares of lots by the character of the street.
CHARACTERS = {
    "suburb": {
        "garden": 0.62,
        "park": 0.08,
        "row": 0.10,
        "hall": 0.02,
        "wood": 0.16,
        "field": 0.02,
    },
    "town": {"row": 0.52, "garden": 0.24, "hall": 0.06, "park": 0.10, "wood": 0.08},
    "green": {"wood": 0.62, "field": 0.10, "garden": 0.18, "park": 0.08, "row": 0.01, "hall": 0.01},
}
_LENGTH = {
    "garden": (14, 24),
    "row": (9, 14),
    "hall": (22, 34),
    "park": (14, 30),
    "wood": (16, 34),
    "field": (14, 30),
}


def fill_lots(plan, side, edge, character, gaps):
    """Build on one side of the street.

    Args:
        plan: Plan, to which zones and bodies are added.
        side: 1 left, -1 right. edge: metres from the middle of the road to where lots begin.
        character: key of CHARACTERS. gaps: [(from, to)] along, where side streets run.
    """
    kinds, shares = list(CHARACTERS[character]), list(CHARACTERS[character].values())
    along = plan.street.first
    while along < plan.street.last - 8:
        kind = str(plan.rng.choice(kinds, p=shares))
        length = plan.rng.uniform(*_LENGTH[kind])
        gap = next((gap for gap in gaps if gap[0] < along + length and along < gap[1]), None)
        if gap is not None and gap[0] - along < 9:
            along = gap[1]
            continue
        if gap is not None:
            length = gap[0] - along
        _BUILD[kind](Lot(plan, side, edge, along, length))
        along += length


class Lot:
    """A rectangle of road coordinates: `at(x, y)` counts x along the street from the lot's
    middle, y away from the street.
    """

    def __init__(self, plan, side, edge, along, length):
        self.plan, self.rng, self.side, self.edge, self.middle, self.length = (
            plan,
            plan.rng,
            side,
            edge,
            along + length / 2,
            length,
        )

    def put(self, body, x, y, yaw=0.0):
        """Put a body whose y axis points away from the street, turned by `yaw`."""
        self.plan.put(
            body,
            self.middle + x * self.side,
            self.side * (self.edge + y),
            yaw if self.side > 0 else yaw + np.pi,
        )

    def paint(self, zone, x, y):
        """Paint a zone over x = (from, to), y = (from, to)."""
        along = sorted(self.middle + value * self.side for value in x)
        across = sorted(self.side * (self.edge + value) for value in y)
        self.plan.paint(zone, along, across)

    @property
    def depth(self):
        """Metres from front to back."""
        return _DEEP - self.edge


def _border(lot, start, stop):
    """What stands between garden and footway from x = start to stop: hedge, fence, or nothing."""
    length, choice = stop - start, lot.rng.random()
    if length < 1.5 or choice > 0.93:
        return
    body = plants.hedge(lot.rng, length) if choice < 0.55 else furniture.fence(lot.rng, length)
    lot.put(body, (start + stop) / 2, 0.35)


def _garden(lot):
    rng, half = lot.rng, lot.length / 2
    setback, wide, deep = (
        rng.uniform(2.0, 5.5),
        min(rng.uniform(8, 14), lot.length - 5),
        rng.uniform(8, 11),
    )
    shift = half - wide / 2 - 0.5
    lot.put(buildings.house(rng, wide, deep, rng.integers(1, 4)), shift, setback)
    drive = -half + 2.0
    lot.paint(
        rng.choice([DRIVEWAY, GRAVEL, FOOTWAY], p=(0.45, 0.15, 0.4)),
        (drive - 1.5, drive + 1.5),
        (0, setback + 4),
    )
    lot.put(buildings.garage(rng), drive + 0.2, setback + 4)
    if rng.random() < 0.45:
        lot.put(vehicles.car(rng), drive, setback - 0.4, np.pi / 2)
    _border(lot, -half, drive - 1.7)
    _border(lot, drive + 1.7, half)
    lot.paint(SLABS, (shift - 0.6, shift + 0.6), (0, setback))
    if rng.random() < 0.4:
        lot.paint(SOIL, (drive + 2, half), (0.2, rng.uniform(1.0, 2.0)))
    for _ in range(rng.integers(3, 9)):
        lot.put(
            plants.bush(rng, rng.uniform(0.8, 1.6)),
            rng.uniform(drive + 2.5, half - 1),
            rng.uniform(1.2, max(setback - 1, 1.5)),
        )
    if rng.random() < 0.5 and setback > 5:
        lot.put(plants.broadleaf(rng, 0.75), rng.uniform(drive + 3, half - 1), setback - 2.6)
    for _ in range(rng.integers(1, 4)):
        lot.put(
            (plants.conifer if rng.random() < 0.3 else plants.broadleaf)(rng),
            rng.uniform(-half, half),
            setback + deep + rng.uniform(3, 7),
        )
    lot.put(
        furniture.fence(rng, lot.depth - setback)
        if rng.random() < 0.35
        else plants.hedge(rng, lot.depth - setback),
        half,
        lot.depth / 2 + 2,
        np.pi / 2,
    )


def _row(lot):
    rng, half = lot.rng, lot.length / 2
    lot.put(buildings.house(rng, lot.length, rng.uniform(9, 12), rng.integers(2, 6)), 0, 0.3)
    lot.paint(SLABS if rng.random() < 0.6 else FOOTWAY, (-half, half), (0, 0.4))
    if rng.random() < 0.2:
        lot.put(plants.bush(rng, 0.5), rng.uniform(-half, half), -0.1)
    if rng.random() < 0.5:
        lot.put(plants.broadleaf(rng), rng.uniform(-half, half), 18)


def _hall(lot):
    rng, half = lot.rng, lot.length / 2
    front = rng.uniform(11, 14)
    zone = rng.choice([PARKING, PARKING_STONES, GRAVEL], p=(0.5, 0.3, 0.2))
    lot.paint(zone, (-half + 1, half - 1), (0, front))
    lot.put(buildings.hall(rng, lot.length - 2, rng.uniform(9, 12)), 0, front + 1)
    for x in np.arange(-half + 2.5, half - 2, 2.6):
        if rng.random() < 0.55:
            lot.put(
                lot.plan.large_or_car(0.07),
                x,
                front - 3.5 + rng.uniform(-0.3, 0.3),
                np.pi / 2 * rng.choice([-1, 1]),
            )
    for x in (-half + 1.5, half - 1.5):
        if rng.random() < 0.5:
            lot.put(furniture.direction_board(rng), x, 0.8, -np.pi / 2)


def _park(lot):
    rng, half = lot.rng, lot.length / 2
    y = rng.uniform(2, 8)
    lot.paint(
        GRAVEL if rng.random() < 0.55 else FOOTWAY, (-half, half), (y, y + rng.uniform(1.5, 3.0))
    )
    if rng.random() < 0.3:
        lot.paint(GRAVEL, (-half / 2, half / 2), (1, lot.depth / 2))
    for _ in range(rng.integers(2, 6)):
        lot.put(
            (plants.conifer if rng.random() < 0.2 else plants.broadleaf)(rng),
            rng.uniform(-half, half),
            rng.uniform(1, lot.depth),
        )
    for _ in range(rng.integers(4, 10)):
        lot.put(plants.bush(rng, 1.5), rng.uniform(-half, half), rng.uniform(0.8, lot.depth))
    for _ in range(rng.poisson(0.4 * lot.plan.rare)):
        lot.plan.put_person(lot.middle + rng.uniform(-half, half), lot.side * (lot.edge + y + 0.8))
    if rng.random() < 0.4:
        _border(lot, -half, half)


def _wood(lot):
    rng, half = lot.rng, lot.length / 2
    lot.paint(SOIL if rng.random() < 0.4 else LAWN, (-half, half), (0.5, lot.depth))
    front = rng.uniform(0.8, 5.0)
    for x in np.arange(-half + 0.8, half, 1.7):
        if rng.random() < 0.85:
            lot.put(plants.bush(rng, rng.uniform(1.0, 2.2)), x, front + rng.uniform(-0.3, 1.0))
    lot.put(plants.grove(rng, lot.length, 2.5), 0, front + 1.5)
    lot.put(plants.grove(rng, lot.length, 4), 0, front + 8)
    if rng.random() < 0.3:
        lot.put(furniture.fence(rng, lot.length), 0, 0.3)


def _field(lot):
    rng, half = lot.rng, lot.length / 2
    if rng.random() < 0.4:
        lot.paint(SOIL, (-half, half), (2, lot.depth))
    if rng.random() < 0.6:
        lot.put(furniture.fence(rng, lot.length), 0, 0.5)
    for _ in range(rng.integers(2, 8)):
        lot.put(plants.bush(rng, 1.8), rng.uniform(-half, half), rng.uniform(0.8, 6))
    if rng.random() < 0.7:
        lot.put(plants.grove(rng, lot.length, 5), 0, lot.depth - 3)


_BUILD = {
    "garden": _garden,
    "row": _row,
    "hall": _hall,
    "park": _park,
    "wood": _wood,
    "field": _field,
}


def fill_background(plan, side):
    """Behind the lots: woods and the backs of other houses, so that the horizon is closed."""
    for along in np.arange(plan.street.first + 8, plan.street.last, 17.0):
        rng, across = plan.rng, side * (_DEEP + plan.rng.uniform(6, 12))
        yaw = 0.0 if side > 0 else np.pi
        if rng.random() < 0.45:
            plan.put(
                buildings.house(rng, rng.uniform(10, 16), 9.0, rng.integers(2, 5)),
                along,
                across,
                yaw,
            )
        else:
            plan.put(plants.grove(rng, 17, 5), along, across, yaw)
